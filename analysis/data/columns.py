"""Facts about the columns of `trials`: kind, section and BatchNorm policy, from the metadata that a sweep writes.

Files of earlier commits lack some of it and are read by the names below. Later columns always carry their metadata.
"""

from collections.abc import Sequence

import pyarrow as pa

REQUIRED = ("key", "role", "dataset", "model", "construction", "seed")
SPLITS = ("train", "val", "test")

EARLIER_COST = ("passes", "teacher_passes", "teacher_forwards", "stage_passes", "images", "seconds", "stage_seconds")
EARLIER_PROVENANCE = ("sweep", "status", "commit", "dirty", "device", "device_name", "host", "threads")
EARLIER_SCORES = ("feasible", "margin", "verdict_val", "verdict_test", "classes", "member_distance")
EARLIER_KEPT = ("plane_points", "predictions", "outcome_nll")
EARLIER_SUFFIXES = ("_version", "_hash", "_at", "_key")
EARLIER_FACTS = frozenset((*REQUIRED, *EARLIER_COST, *EARLIER_PROVENANCE, *EARLIER_SCORES, *EARLIER_KEPT))
"""Columns that are no hyperparameters, in files whose metadata has no `kind`."""
EARLIER_EVALUATION = frozenset(
    (
        *("alphas", "policies", "bn_images", "hull_points", "pairs", "path_images", "path_precision"),
        *("train_images", "plane_points", "ood", "predictions", "outcome_nll", "progress_every"),
    )
)
"""Hyperparameters of the evaluation, in files whose metadata has no `section`."""
EARLIER_HEADLINES = ("reset", "none")
"""Headline BatchNorm policies, in files whose metadata has no `policy`: `none` where a model has no BatchNorm."""


def column_metadata(schema: pa.Schema, column: str, what: str) -> str:
    """Return what a column's metadata says under `what` (`unit`, `doc`, `kind`, …), or an empty text."""
    if schema.get_field_index(column) < 0:
        return ""
    return str((schema.field(column).metadata or {}).get(what.encode(), b"").decode())


def hyperparameter_names(schema: pa.Schema) -> list[str]:
    """Return the columns that make a configuration."""
    return [name for name in schema.names if is_hyperparameter(schema, name)]


def is_hyperparameter(schema: pa.Schema, name: str) -> bool:
    """Tell whether a column is a hyperparameter; without metadata it is one unless its name is known otherwise."""
    if kind := column_metadata(schema, name, "kind"):
        return kind == "hyperparameter"
    # `val_size` and `test_size` are hyperparameters: what sets a metric apart is that it has a unit.
    scored = name.startswith(("val_", "test_")) and column_metadata(schema, name, "unit") != ""
    return not (scored or name in EARLIER_FACTS or name.endswith(EARLIER_SUFFIXES))


def evaluation_names(schema: pa.Schema) -> frozenset[str]:
    """Return the hyperparameters of the evaluation, which do not change the ensemble."""
    return frozenset(name for name in schema.names if _is_evaluation(schema, name))


def _is_evaluation(schema: pa.Schema, name: str) -> bool:
    section = column_metadata(schema, name, "section")
    return section == "evaluation" if section else name in EARLIER_EVALUATION


def headline_policies(schema: pa.Schema) -> tuple[str, ...]:
    """Return the BatchNorm policies of headline connectivity numbers, the preferred one first."""
    marked = [
        column_metadata(schema, name, "policy") for name in schema.names if column_metadata(schema, name, "headline")
    ]
    return tuple(dict.fromkeys((*marked, *EARLIER_HEADLINES)))


def is_score(schema: pa.Schema, name: str) -> bool:
    """Tell whether a column is a metric of a split, unlike `val_size`."""
    if section := column_metadata(schema, name, "section"):
        return section == "score" and name.partition("_")[0] in SPLITS
    return name.partition("_")[0] in SPLITS and not (
        column_metadata(schema, name, "kind") == "hyperparameter" or name.endswith("size")
    )


def useful_columns(schema: pa.Schema, split: str, deciding: Sequence[str]) -> list[str]:
    """Return the columns to read: scores of `split`, the `deciding` ones of validation, and all that is no score."""
    policies = headline_policies(schema)
    decide = {f"val_{metric}" for metric in deciding}
    for policy in policies:
        decide |= {f"val_{metric}_{policy}" for metric in deciding}
    return [
        name for name in schema.names if not is_score(schema, name) or name.partition("_")[0] == split or name in decide
    ]
