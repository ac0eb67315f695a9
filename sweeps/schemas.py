"""Typed Arrow schemas, derived from where each quantity is defined; units and meanings are field metadata."""

from collections.abc import Iterable
from functools import cache

import pyarrow as pa

from basin.data import Split
from basin.evaluation import POLICIES
from basin.metrics import metrics
from basin.spec import Field, describe
from basin.training import Training
from basin.trial import REGISTRIES, Evaluation

TYPES = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
SPLITS = ("val", "test")
CONNECTIVITY = {
    "q_bar": (
        "accuracy points",
        "higher",
        "Mean chord excess of accuracy, over all pairs and interior points.",
    ),
    "q_min": ("accuracy points", "higher", "Worst chord excess of accuracy."),
    "barrier": ("accuracy points", "lower", "Largest barrier over all pairs, −min of the chord excess."),
}
TIMING = ("seconds", "finished_at", "host")
"""Columns that differ between two runs of the same trial."""


def column(name: str, kind: pa.DataType, doc: str, unit: str = "", better: str = "", what: str = "") -> pa.Field:
    """A column that says what it holds; `kind` in its metadata tells hyperparameters from metrics and the rest."""
    facts = {"unit": unit, "better": better, "doc": doc, "kind": what or ("metric" if better else "fact")}
    return pa.field(name, kind, metadata={key: value for key, value in facts.items() if value})


def hyperparameters() -> list[Field]:
    """Every field of every registered dataset, model and construction, and of the other sections of a trial."""
    classes = [cls for registry in REGISTRIES.values() for cls in registry.classes()]
    found: dict[str, Field] = {}
    for cls in [*classes, Split, Training, Evaluation]:
        for spec in describe(cls):
            found.setdefault(spec.name, spec)
    return list(found.values())


@cache
def _hyperparameter_names() -> frozenset[str]:
    return frozenset(spec.name for spec in hyperparameters())


def is_score(name: str) -> bool:
    """Whether a column is a score on a split, and not a hyperparameter such as `val_size`."""
    return name.partition("_")[0] in SPLITS and name not in _hyperparameter_names()


def _scores(splits: Iterable[str]) -> list[pa.Field]:
    named: dict[str, tuple[str, str, str]] = {
        metric.name: (metric.unit, metric.better, metric.doc) for metric in metrics().values()
    }
    named |= {f"{name}_{policy}": facts for policy in POLICIES for name, facts in CONNECTIVITY.items()}
    return [
        column(f"{split}_{name}", pa.float64(), doc, unit, better)
        for split in splits
        for name, (unit, better, doc) in named.items()
    ]


def _text(*names: str) -> list[pa.Field]:
    return [column(name, pa.string(), f"{name.replace('_', ' ').capitalize()}.") for name in names]


KEY = column("key", pa.string(), "The trial's name: a hash of its contents.")


def trials() -> pa.Schema:
    """One row a trial."""
    own = {"dataset", "model", "construction", "seed", "data_hash"}
    return pa.schema(
        [
            KEY,
            column("sweep", pa.string(), "The sweep that ran the trial."),
            column("role", pa.string(), "search, reference or replicate."),
            column("status", pa.string(), "done, or diverged: the training loss was not finite."),
            *_text("dataset", "model", "construction", "data_hash"),
            column("seed", pa.int64(), "Seed of initialisation, data order, augmentation and constraint."),
            *(
                column(f.name, TYPES[f.kind], f.doc, what="hyperparameter")
                for f in hyperparameters()
                if f.name not in own
            ),
            *_scores(SPLITS),
            column("passes", pa.int64(), "Passes of the task's own loss, a shared trunk once.", "batches"),
            column("teacher_passes", pa.int64(), "Passes that training the teachers took.", "batches"),
            column("teacher_forwards", pa.int64(), "Forward-only passes of teachers.", "batches"),
            column("seconds", pa.float64(), "Wall time of the trial, its stages not included.", "s"),
            column("finished_at", pa.timestamp("us", tz="UTC"), "When the trial ended."),
            *_text("device", "device_name", "host"),
            column("threads", pa.int64(), "CPU threads of the trial."),
            *_text("commit", "dirty", "python_version"),
            *_text(
                *(f"{name}_version" for name in ("torch", "torchvision", "ray", "optuna", "mlflow", "pyarrow", "numpy"))
            ),
        ]
    )


def members() -> pa.Schema:
    """One row a member."""
    scores = [
        column(f"{split}_{name}", pa.float64(), f"{doc} of the member.", unit)
        for split in SPLITS
        for name, unit, doc in (("accuracy", "%", "Accuracy"), ("nll", "nats", "Mean negative log-likelihood"))
    ]
    return pa.schema([KEY, column("member", pa.int64(), "Which member, from 0."), *scores])


def history() -> pa.Schema:
    """One row a score of a growing ensemble."""
    middle = [
        column(f"val_q_mid_{policy}", pa.float64(), "Mean chord excess at the midpoints.", "accuracy points", "higher")
        for policy in ("reset",)
    ]
    scores = [f for f in _scores(("val",)) if not any(f.name.startswith(f"val_{name}_") for name in CONNECTIVITY)]
    return pa.schema(
        [
            KEY,
            column("step", pa.int64(), "Which ensemble of its construction, from 1: an epoch, or a member."),
            column("passes", pa.int64(), "Passes so far.", "batches"),
            column("seconds", pa.float64(), "Wall time so far.", "s"),
            *scores,
            *middle,
        ]
    )


def paths() -> pa.Schema:
    """One row a network on a path between two members."""
    return pa.schema(
        [
            KEY,
            column("split", pa.string(), "val or test."),
            column("policy", pa.string(), "What was done about BatchNorm statistics."),
            column("i", pa.int64(), "The member at α = 0."),
            column("j", pa.int64(), "The member at α = 1."),
            column("alpha", pa.float64(), "Position on the path.", "1"),
            column("accuracy", pa.float64(), "Accuracy.", "%", "higher"),
            column("loss", pa.float64(), "Mean negative log-likelihood.", "nats", "lower"),
        ]
    )


SCHEMAS = {"members": members, "history": history, "paths": paths, "trials": trials}
"""Table → its schema, in the order of writing: a trial is done when its row of `trials` is there."""
