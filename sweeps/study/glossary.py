"""Glossary of a sweep: the directions of its scores, and the kinds of its hyperparameters.

The modules that define them take seconds to import. So each sweep records them with its results
(`sweeps.tracking.tags`), and readers need not import these modules.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache

FINE = ("nll", "loss", "likelihood")
"""Parts of the names of scores in nats, for sweeps that do not record which ones are fine."""
POINTS = (b"%", b"accuracy points")
"""Units whose second decimal is the last that counts."""
Params = Sequence[Mapping[str, object]]
"""Hyperparameters of some trials, by name."""


@dataclass(frozen=True)
class Glossary:
    """Names in the order of their definition."""

    better: Mapping[str, str]
    """Score without its split → higher, lower or neither."""
    searchable: Mapping[str, str]
    """Hyperparameter that can be searched → number or choice."""
    distinguishing: Sequence[str]
    """Hyperparameters that tell configurations apart."""
    training: Sequence[str]
    """Hyperparameters of the training."""
    fine: Sequence[str] = ()
    """Scores that are neither in % nor in points: their third decimal counts. Older sweeps record none."""

    @classmethod
    def parse(cls, text: str) -> "Glossary":
        """Read what `format` wrote."""
        return cls(**json.loads(text))

    def format(self) -> str:
        """Write as JSON."""
        return json.dumps(asdict(self), separators=(",", ":"), allow_nan=False)

    def sign(self, score: str) -> int:
        """Return 1 if a higher score is better, else −1."""
        return -1 if self.better[score] == "lower" else 1

    def digits(self, score: str) -> int:
        """Return the number of decimals to show of a score."""
        fine = score in self.fine if self.fine else any(word in score for word in FINE)
        return 3 if fine else 2

    def arrow(self, score: str) -> str:
        """Return ↑ if a higher score is better, ↓ if a lower one is; a chord excess above 0 is no merit."""
        return {"higher": "↑", "lower": "↓"}.get(self.better.get(score, ""), "")

    def varying(self, params: Params) -> list[str]:
        """Return the searchable hyperparameters in which trials differ.

        A missing number counts as a difference; a missing choice does not, as constructions have different choices.
        """
        kinds = self.searchable.items()
        return [name for name, kind in kinds if _count_values(params, name, missing=kind == "number") > 1]

    def differing(self, params: Params) -> list[str]:
        """Return all hyperparameters in which trials differ; a missing value is no difference."""
        return [name for name in self.distinguishing if _count_values(params, name, missing=False) > 1]


def _count_values(params: Params, name: str, *, missing: bool) -> int:
    values = {one.get(name) for one in params}
    return len(values if missing else values - {None})


@cache
def defined_glossary() -> Glossary:
    """Make the glossary of the code, which imports PyTorch."""
    from basin.spec import describe_fields
    from basin.training.loop import Training
    from sweeps.storage.columns import distinguishing_names
    from sweeps.storage.trial_schemas import trials_schema
    from sweeps.study.space import searchable_fields

    better, fine = {}, []
    for column in trials_schema():
        if column.name.startswith("val_") and b"better" in (column.metadata or {}):
            score = column.name.removeprefix("val_")
            better[score] = column.metadata[b"better"].decode()
            if column.metadata.get(b"unit") not in POINTS:
                fine.append(score)
    searchable = {name: "number" if field.search else "choice" for name, field in searchable_fields().items()}
    training = [field.name for field in describe_fields(Training)]
    return Glossary(better, searchable, distinguishing_names(), training, fine)
