"""Arrow tables of networks, paths and planes; units and meanings are metadata of the columns.

The tables of sweeps have the same columns, after the trial's key. PyArrow is imported when a table is made.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyarrow import DataType, Field, Table

    from basin.api.results import Comparison, Scores
else:  # the tests look up every annotation
    Comparison = Scores = DataType = Field = Table = Any

POINTS = "accuracy points"


def make_column(name: str, kind: DataType | str, doc: str, unit: str = "", better: str = "", what: str = "") -> Field:
    """Make a column whose metadata hold unit, direction, meaning and kind (hyperparameter, metric or fact)."""
    import pyarrow as pa

    facts = {"unit": unit, "better": better, "doc": doc, "kind": what or ("metric" if better else "fact")}
    return pa.field(name, kind, metadata={key: value for key, value in facts.items() if value})


def path_columns() -> list[Field]:
    """Columns of networks on a path between two members."""
    return [
        *_place_columns("val, test or train."),
        make_column("i", "int64", "The member at α = 0."),
        make_column("j", "int64", "The member at α = 1."),
        make_column("alpha", "float64", "Position on the path.", "1"),
        *_score_columns(),
    ]


def hull_columns() -> list[Field]:
    """Columns of networks of the convex hull."""
    return [
        *_place_columns("val, test or train."),
        make_column("index", "int64", "0 for the centroid, then the random points."),
        *_score_columns(),
        make_column("accuracy_excess", "float64", "Accuracy minus that mixture of the members'.", POINTS, "higher"),
    ]


def plane_columns() -> list[Field]:
    """Columns of networks in the plane through three vertices, and of the vertices near it."""
    return [
        *_place_columns("val or test."),
        make_column(
            "vertex", "int64", "The vertex that this is, teachers after students; null for a point of the grid."
        ),
        make_column("x", "float64", "Coordinate along the first side.", "weight"),
        make_column("y", "float64", "Coordinate orthogonal to it.", "weight"),
        make_column("residual", "float64", "Distance from the plane.", "weight"),
        *_score_columns(),
    ]


def certificate_columns() -> list[Field]:
    """Columns of aligned members: evidence that their functions are unchanged."""
    return [
        make_column("member", "int64", "Which member."),
        make_column("error", "float64", "Largest difference of logits, in float64.", "logit"),
        make_column("scale", "float64", "Largest logit.", "logit"),
        make_column("before", "float64", "Similarity to the reference without the permutation."),
        make_column("after", "float64", "Similarity to the reference with it."),
        make_column("restarts", "int64", "Starts of the search."),
        make_column("spread", "float64", "Best minus worst similarity over the restarts."),
        make_column("barrier_before", "float64", "Largest midpoint barrier to another member before.", POINTS),
        make_column("barrier_after", "float64", "Largest midpoint barrier to another member after.", POINTS),
    ]


def make_table(columns: list[Field], records: Iterable[Any]) -> Table:
    """The table of dataclass instances, one row each."""
    return _table_of_rows(columns, [asdict(record) for record in records])


def comparison_tables(comparison: Comparison) -> dict[str, Table]:
    """Every table of a comparison by its name."""
    tables = {
        "paths": make_table(path_columns(), comparison.paths),
        "hull": make_table(hull_columns(), comparison.hull),
        "certificates": make_table(certificate_columns(), comparison.certificates),
        "barriers": _table_of_rows(_barrier_columns(), _barrier_rows(comparison)),
    }
    named = {"ensemble": comparison.ensemble, "soup": comparison.soup.scores}
    named |= {f"member {k}": scores for k, scores in enumerate(comparison.members)}
    rows = list(chain.from_iterable(_metric_rows(name, scores) for name, scores in named.items()))
    return tables | {"scores": _table_of_rows(_metric_columns(), rows)}


def _table_of_rows(columns: list[Field], rows: Sequence[dict[str, Any]]) -> Table:
    import pyarrow as pa

    return pa.Table.from_pylist(list(rows), schema=pa.schema(columns))


def _place_columns(splits: str) -> list[Field]:
    return [
        make_column("split", "string", splits),
        make_column("policy", "string", "BatchNorm policy of the mixed networks."),
    ]


def _score_columns() -> list[Field]:
    return [
        make_column("accuracy", "float64", "Accuracy of the network at this point.", "%", "higher"),
        make_column("loss", "float64", "Mean negative log-likelihood of the network at this point.", "nats", "lower"),
    ]


def _barrier_columns() -> list[Field]:
    columns = [
        make_column("policy", "string", "BatchNorm policy of the mixed networks."),
        make_column("i", "int64", "The member at α = 0."),
        make_column("j", "int64", "The member at α = 1."),
    ]
    for score, unit in (("accuracy", POINTS), ("loss", "nats")):
        columns.append(make_column(score, "float64", f"Barrier of the {score}.", unit, "lower"))
        columns.append(make_column(f"{score}_low", "float64", "Lower end of its 95 % interval over images.", unit))
        columns.append(make_column(f"{score}_high", "float64", "Upper end of its 95 % interval over images.", unit))
    return columns


def _barrier_rows(comparison: Comparison) -> list[dict[str, Any]]:
    rows = []
    pairs = sorted({(point.i, point.j) for point in comparison.paths})
    for policy, matrix in comparison.barriers.items():
        for i, j in pairs:
            one = matrix[i, j]
            row = {"policy": policy, "i": i, "j": j, "accuracy": one.accuracy, "loss": one.loss}
            for score, ends in (("accuracy", one.accuracy_interval), ("loss", one.loss_interval)):
                row |= {f"{score}_low": ends[0], f"{score}_high": ends[1]}
            rows.append(row)
    return rows


def _metric_columns() -> list[Field]:
    return [
        make_column("network", "string", "ensemble, soup, or member with its number."),
        make_column("metric", "string", "Name of the metric."),
        make_column("value", "float64", "Its value, in the unit of the metric."),
        make_column("low", "float64", "Lower end of its 95 % interval over images; null if it is no mean over images."),
        make_column("high", "float64", "Upper end of its 95 % interval over images."),
    ]


def _metric_rows(name: str, scores: Scores) -> list[dict[str, Any]]:
    rows = []
    for metric, value in scores.items():
        low, high = scores.intervals.get(metric, (None, None))
        rows.append({"network": name, "metric": metric, "value": value, "low": low, "high": high})
    return rows
