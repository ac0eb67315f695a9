"""Columns of the result tables: units, directions and meanings, from where each quantity is defined."""

import json
from collections.abc import Sequence
from functools import cache

import pyarrow as pa

from basin.api.tables import POINTS, make_column
from basin.connectivity.batchnorm import HEADLINE, POLICIES
from basin.costs import COSTS
from basin.data import DataSplit
from basin.measure import SOUP, Evaluation
from basin.metrics import all_metrics
from basin.spec import Field, describe_fields
from basin.training.loop import Training
from basin.trial import REGISTRIES

SPLITS = ("val", "test")
NATS = "nats"
CONNECTIVITY = {
    "q_bar": (
        POINTS,
        "higher",
        "Mean chord excess of accuracy, over the pairs and interior points. Below 0 paths dip; above 0 is no merit: "
        "members are worse than their midpoints. Comparisons of it describe and do not rank.",
    ),
    "q_min": (POINTS, "higher", "Worst chord excess of accuracy."),
    "q_star": (POINTS, "higher", "Mean chord excess of accuracy over the pairs with member 0."),
    "barrier": (POINTS, "lower", "Largest barrier of accuracy over the pairs, −min of the chord excess."),
    "instability": (POINTS, "lower", "Largest excess of a path's highest error over the mean error of its ends."),
    "loss_barrier": (NATS, "lower", "Largest barrier of the loss over the pairs, max of loss minus chord, at least 0."),
    "basin_upper": (POINTS, "lower", "95 % upper bound of the accuracy shortfall on the average judged path."),
    "basin_lower": (
        POINTS,
        "lower",
        "95 % lower bound of the accuracy shortfall at the worst point of a judged path. It may be above the upper "
        "bound, which is of the average path.",
    ),
    "loss_upper": (
        NATS,
        "lower",
        "95 % upper bound of the loss shortfall on the average judged path. A loss has no worst value: the largest "
        "shortfall seen on any image stands for it, so that one image can move the bound.",
    ),
    "loss_lower": (
        NATS,
        "lower",
        "95 % lower bound of the loss shortfall at the worst point of a judged path. It may be above the upper bound, "
        "which is of the average path.",
    ),
    "centroid_gap": (
        POINTS,
        "higher",
        "Accuracy at the centroid minus the mean accuracy of the members under the same BatchNorm policy (reset: with "
        "statistics estimated again, as at the centroid).",
    ),
    "hull_gap": (POINTS, "higher", "Mean chord excess of accuracy over random points of the convex hull."),
    "hull_min": (
        POINTS,
        "higher",
        "Worst chord excess of accuracy over random points of the convex hull, without the centroid.",
    ),
    "hull_upper": (
        POINTS,
        "lower",
        "95 % upper bound of the accuracy shortfall at the centroid and of its mean over random points; the larger.",
    ),
    "hull_lower": (
        POINTS,
        "lower",
        "95 % lower bound of the accuracy shortfall at the worst point of the hull, the centroid included.",
    ),
    "hull_loss_upper": (
        NATS,
        "lower",
        "95 % upper bound of the loss shortfall at the centroid and of its mean over random points; the larger.",
    ),
    "hull_loss_lower": (
        NATS,
        "lower",
        "95 % lower bound of the loss shortfall at the worst point of the hull, the centroid included.",
    ),
}
SOUP_DOCS = {
    "accuracy": "Accuracy of the soup, the one network of averaged weights.",
    "nll": "Mean negative log-likelihood of the soup, the one network of averaged weights.",
    "ece": "Expected calibration error of the soup's top label, over 15 equal-width bins (Guo 2017, equation 3).",
    "brier": "Brier score of the soup, from 0 to 2 (Brier 1950).",
    "calibrated_log_likelihood": "Log-likelihood of the soup at a temperature fitted on other images of the split "
    "(Ashukha 2020).",
}
"""Metric → its meaning for the soup, whose probabilities are those of one network."""
KEPT = ("plane_points", "predictions", "outcome_nll")
"""Hyperparameters that only select what is stored: seeds of one configuration may differ in them."""
TIMING = ("seconds", "stage_seconds", "finished_at", "host")
"""Columns that differ between two runs of the same trial."""
GROUPS = {
    "identity": ("key", "ensemble_key", "configuration", "role", "dataset", "model", "construction", "seed"),
    "score": ("feasible", "margin", "verdict_val", "verdict_test", "member_distance"),
    "cost": tuple(COSTS),
}
"""Section → columns of `trials` that are no hyperparameters and no metrics of a split; the others are provenance."""


def list_hyperparameters() -> list[Field]:
    """Fields of all registered datasets, models and constructions, and of the other sections of a trial."""
    return [spec for spec, _ in _placed_fields().values()]


def hyperparameter_sections() -> dict[str, str]:
    """Return the section of a trial that each hyperparameter belongs to: `training`, `evaluation`, …"""
    return {name: section for name, (_, section) in _placed_fields().items()}


def _placed_fields() -> dict[str, tuple[Field, str]]:
    """Return every hyperparameter with its section; a name that several sections use belongs to the first."""
    classes = []
    for kind, registry in REGISTRIES.items():
        classes += [(kind, cls) for cls in registry.classes()]
    classes += [("split", DataSplit), ("training", Training), ("evaluation", Evaluation)]
    placed: dict[str, tuple[Field, str]] = {}
    for section, cls in classes:
        for spec in describe_fields(cls):
            placed.setdefault(spec.name, (spec, section))
    return placed


def distinguishing_names() -> list[str]:
    """Names of the hyperparameters that tell configurations apart."""
    return [spec.name for spec in list_hyperparameters() if spec.name not in KEPT]


@cache
def _hyperparameter_names() -> frozenset[str]:
    return frozenset(spec.name for spec in list_hyperparameters())


def is_score(name: str) -> bool:
    """Tell whether a column is a score on a split, and not a hyperparameter such as `val_size`."""
    return name.partition("_")[0] in (*SPLITS, "train") and name not in _hyperparameter_names()


Facts = dict[str, tuple[str, str, str]]
"""Column without its split → unit, direction, meaning."""


def quality_facts(split: str, *, final: bool) -> Facts:
    """Metrics of a split; those that need other data exist for the test split only."""
    known = [m for m in all_metrics().values() if (final or not m.final) and (split == "test" or not m.needs)]
    return {m.name: (m.unit, m.better, m.doc) for m in known}


def soup_facts() -> Facts:
    """Metrics of the soup."""
    known = all_metrics()
    return {f"soup_{n}": (known[n].unit, known[n].better, SOUP_DOCS[n]) for n in SOUP}


def connectivity_facts() -> Facts:
    """Connectivity metrics under each BatchNorm policy."""
    facts: Facts = {}
    for policy in POLICIES:
        facts |= {f"{name}_{policy}": fact for name, fact in CONNECTIVITY.items()}
    return facts


def split_columns(split: str, named: Facts) -> list[pa.Field]:
    """Make the columns of a split."""
    return [make_column(f"{split}_{name}", pa.float64(), doc, unit, way) for name, (unit, way, doc) in named.items()]


def cost_columns() -> list[pa.Field]:
    """Make the columns of what a trial costs, with their headings in the table of costs."""
    columns = []
    for cost in COSTS.values():
        column = make_column(cost.name, pa.int64() if cost.whole else pa.float64(), cost.doc, cost.unit)
        columns.append(column.with_metadata(column.metadata | ({"heading": cost.heading} if cost.heading else {})))
    return columns


def text_columns(**docs: str) -> list[pa.Field]:
    """Make columns of text: name → meaning."""
    return [make_column(name, pa.string(), doc) for name, doc in docs.items()]


def name_classes(schema: pa.Schema, classes: Sequence[str]) -> pa.Schema:
    """Add the names of the classes to the metadata of the column `label`, as a JSON list in the order of the labels."""
    place = schema.get_field_index("label")
    field = schema.field(place)
    names = json.dumps(list(classes), ensure_ascii=False, allow_nan=False)
    return schema.set(place, field.with_metadata({**(field.metadata or {}), "classes": names}))


KEY = make_column("key", pa.string(), "The trial's name: a hash of its contents.")


def add_sections(schema: pa.Schema) -> pa.Schema:
    """Add to each column's metadata its section, and to connectivity columns their BatchNorm policy.

    The section is that of a hyperparameter, else score, cost, identity or provenance. The headline policy is marked.
    Readers of the tables take these facts from the files.
    """
    known = hyperparameter_sections()
    fields = []
    for field in schema:
        section = "score" if is_score(field.name) else known.get(field.name)
        facts = {"section": section or _group_of(field.name)}
        stem, _, policy = field.name.rpartition("_")
        if section == "score" and stem.partition("_")[2] in CONNECTIVITY:
            facts |= {"policy": policy} | ({"headline": "yes"} if policy == HEADLINE else {})
        old = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
        fields.append(field.with_metadata(old | facts))
    return pa.schema(fields)


def _group_of(name: str) -> str:
    return next((group for group, names in GROUPS.items() if name in names), "provenance")
