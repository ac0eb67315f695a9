"""Typed Arrow schemas of the result tables; units and meanings are field metadata."""

from sweeps.storage.network_schemas import (
    certificates_schema,
    hull_schema,
    outcomes_schema,
    paths_schema,
    planes_schema,
    predictions_schema,
    reliability_schema,
    sizes_schema,
)
from sweeps.storage.trial_schemas import history_schema, members_schema, trials_schema

SCHEMAS = {
    "members": members_schema,
    "history": history_schema,
    "paths": paths_schema,
    "hull": hull_schema,
    "planes": planes_schema,
    "reliability": reliability_schema,
    "certificates": certificates_schema,
    "predictions": predictions_schema,
    "outcomes": outcomes_schema,
    "sizes": sizes_schema,
    "trials": trials_schema,
}
"""Table → its schema, in the order of writing: a trial is done when its row of `trials` exists."""
ALWAYS = ("members", "history", "paths", "trials")
"""Tables of which every trial has a file; the others exist only if they have rows."""
