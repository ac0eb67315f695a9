"""Typed Arrow schemas, derived from where each quantity is defined; units and meanings are field metadata."""

from functools import cache

import pyarrow as pa

from basin.data import Split
from basin.measure import Evaluation
from basin.metrics import metrics
from basin.policies import POLICIES
from basin.spec import Field, describe
from basin.training import Training
from basin.trial import REGISTRIES

TYPES = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}
SPLITS = ("val", "test")
POINTS = "accuracy points"
CONNECTIVITY = {
    "q_bar": (POINTS, "higher", "Mean chord excess of accuracy, over all pairs and interior points."),
    "q_min": (POINTS, "higher", "Worst chord excess of accuracy."),
    "q_star": (POINTS, "higher", "Mean chord excess of accuracy over the pairs with member 0."),
    "barrier": (POINTS, "lower", "Largest barrier over all pairs, −min of the chord excess."),
    "instability": (POINTS, "lower", "Largest excess of a path's highest error over the mean error of its ends."),
    "connected": ("1", "higher", "1 where instability is below 2 points, else 0."),
    "centroid_gap": (POINTS, "higher", "Accuracy at the centroid minus the members' mean accuracy."),
    "hull_gap": (POINTS, "higher", "Mean chord excess of accuracy over random points of the convex hull."),
    "hull_min": (POINTS, "higher", "Worst chord excess of accuracy over random points of the convex hull."),
}
TIMING = ("seconds", "stage_seconds", "finished_at", "host")
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
    return name.partition("_")[0] in (*SPLITS, "train") and name not in _hyperparameter_names()


Facts = dict[str, tuple[str, str, str]]
"""Column without its split → unit, direction, meaning."""


def _quality(split: str, *, final: bool) -> Facts:
    """Metrics of a split; those that need validation or another dataset are of the test split only."""
    known = [m for m in metrics().values() if (final or not m.final) and (split == "test" or not m.needs)]
    return {m.name: (m.unit, m.better, m.doc) for m in known}


def _connectivity() -> Facts:
    return {f"{name}_{policy}": facts for policy in POLICIES for name, facts in CONNECTIVITY.items()}


def _columns(split: str, named: Facts) -> list[pa.Field]:
    return [column(f"{split}_{name}", pa.float64(), doc, unit, way) for name, (unit, way, doc) in named.items()]


def _text(*names: str) -> list[pa.Field]:
    return [column(name, pa.string(), f"{name.replace('_', ' ').capitalize()}.") for name in names]


KEY = column("key", pa.string(), "The trial's name: a hash of its contents.")


def trials() -> pa.Schema:
    """One row a trial."""
    own = {"dataset", "model", "construction", "seed", "data_hash", "ood_hash"}
    return pa.schema(
        [
            KEY,
            column("sweep", pa.string(), "The sweep that ran the trial."),
            column("role", pa.string(), "search, grid, reference or replicate."),
            column("status", pa.string(), "done, diverged (the training loss was not finite) or stopped (early)."),
            column("feasible", pa.bool_(), "Whether validation scores satisfy the sweep's constraints, if it has any."),
            *_text("dataset", "model", "construction", "data_hash", "ood_hash"),
            column("seed", pa.int64(), "Seed of initialisation, data order, augmentation and constraint."),
            *(
                column(f.name, TYPES[f.kind], f.doc, what="hyperparameter")
                for f in hyperparameters()
                if f.name not in own
            ),
            *(field for split in SPLITS for field in _columns(split, _quality(split, final=True) | _connectivity())),
            *_columns("train", _connectivity()),
            column("passes", pa.int64(), "Passes of the task's own loss, a shared trunk once.", "batches"),
            column("member_epochs", pa.float64(), "The same in epochs of one member.", "epochs"),
            column("image_passes", pa.int64(), "The same in images, forward and backward.", "images"),
            column("teacher_passes", pa.int64(), "Passes that training the teachers took.", "batches"),
            column("teacher_forwards", pa.int64(), "Forward-only passes of teachers.", "batches"),
            column("stage_passes", pa.int64(), "Passes of the single runs it is built from, each once.", "batches"),
            column("seconds", pa.float64(), "Wall time of the trial over its launches, stage_seconds apart.", "s"),
            column("stage_seconds", pa.float64(), "Wall time of its single runs before it; null if not known.", "s"),
            column("finished_at", pa.timestamp("us", tz="UTC"), "When the trial ended."),
            *_text("device", "device_name", "host"),
            column("threads", pa.int64(), "CPU threads of the trial."),
            column("engine", pa.string(), "How its stacks were trained: loop, threads or stacked."),
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
    return pa.schema(
        [
            KEY,
            column("step", pa.int64(), "Which ensemble of its construction, from 1: an epoch, or a member."),
            column("passes", pa.int64(), "Passes so far.", "batches"),
            column("seconds", pa.float64(), "Wall time so far.", "s"),
            column("progress", pa.float64(), "Share of the trial's passes so far.", "1"),
            *_columns("val", _quality("val", final=False)),
            column("val_q_mid_reset", pa.float64(), "Mean chord excess at the midpoints.", POINTS, "higher"),
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


def hull() -> pa.Schema:
    """One row a network of the convex hull."""
    return pa.schema(
        [
            KEY,
            column("split", pa.string(), "val, test or train."),
            column("policy", pa.string(), "What was done about BatchNorm statistics."),
            column("index", pa.int64(), "0 for the centroid, then the random points."),
            column("accuracy", pa.float64(), "Accuracy.", "%", "higher"),
            column("loss", pa.float64(), "Mean negative log-likelihood.", "nats", "lower"),
            column("accuracy_excess", pa.float64(), "Accuracy minus that mixture of the members'.", POINTS, "higher"),
        ]
    )


def planes() -> pa.Schema:
    """One row a network in the plane through three vertices, or a vertex near it."""
    return pa.schema(
        [
            KEY,
            column("split", pa.string(), "val or test."),
            column("policy", pa.string(), "What was done about BatchNorm statistics."),
            column(
                "vertex", pa.int64(), "The vertex that this is, teachers after students; null for a point of the grid."
            ),
            column("x", pa.float64(), "Coordinate along the first side.", "weight"),
            column("y", pa.float64(), "Coordinate orthogonal to it.", "weight"),
            column("residual", pa.float64(), "Distance from the plane.", "weight"),
            column("accuracy", pa.float64(), "Accuracy.", "%", "higher"),
            column("loss", pa.float64(), "Mean negative log-likelihood.", "nats", "lower"),
        ]
    )


def reliability() -> pa.Schema:
    """One row a bin of confidence."""
    return pa.schema(
        [
            KEY,
            column("split", pa.string(), "val or test."),
            column("binning", pa.string(), "Bins of equal width, or of equal mass."),
            column("bin", pa.int64(), "Which bin, from 0."),
            column("lo", pa.float64(), "Lower edge, not in the bin.", "%"),
            column("hi", pa.float64(), "Upper edge, in the bin.", "%"),
            column("count", pa.int64(), "Images in the bin."),
            column("confidence", pa.float64(), "Mean confidence of its images.", "%"),
            column("accuracy", pa.float64(), "Accuracy on its images.", "%"),
        ]
    )


def certificates() -> pa.Schema:
    """One row a member that was aligned: the proof that it computes what it did before."""
    return pa.schema(
        [
            KEY,
            column("member", pa.int64(), "Which member."),
            column("error", pa.float64(), "Largest difference of logits, in float64.", "logit"),
            column("scale", pa.float64(), "Largest logit.", "logit"),
            column("before", pa.float64(), "Similarity to the reference without the permutation."),
            column("after", pa.float64(), "Similarity to the reference with it."),
            column("restarts", pa.int64(), "Starts of the search."),
            column("spread", pa.float64(), "Best minus worst similarity over the restarts."),
            column("barrier_before", pa.float64(), "Largest midpoint barrier to another member before.", POINTS),
            column("barrier_after", pa.float64(), "Largest midpoint barrier to another member after.", POINTS),
        ]
    )


def predictions() -> pa.Schema:
    """One row a member, image and split, if a trial keeps its predictions."""
    return pa.schema(
        [
            KEY,
            column("split", pa.string(), "val, test, or ood: the other dataset's."),
            column("member", pa.int64(), "Which member, from 0."),
            column("image", pa.int64(), "Which image of the split, from 0."),
            column("label", pa.int64(), "Its class; −1 in the other dataset."),
            column("log_probs", pa.list_(pa.float16()), "Log-probabilities of the classes.", "nats"),
        ]
    )


SCHEMAS = {
    "members": members,
    "history": history,
    "paths": paths,
    "hull": hull,
    "planes": planes,
    "reliability": reliability,
    "certificates": certificates,
    "predictions": predictions,
    "trials": trials,
}
"""Table → its schema, in the order of writing: a trial is done when its row of `trials` is there."""
ALWAYS = ("members", "history", "paths", "trials")
"""Tables that every trial has a file of; the others only where it has rows."""
