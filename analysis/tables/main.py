"""Main table: the results of each construction over seeds."""

from collections.abc import Callable, Mapping, Sequence

from analysis.answers import verdicts
from analysis.answers.construction_table import construction_sheet, seeds_cell
from analysis.answers.worth import worth_cell
from analysis.constructions import REFERENCE, order
from analysis.data.outcomes import By
from analysis.data.queries import Configuration, Tables, estimate_metric, keys_of
from analysis.output.sheet import Cell, Column, Sheet

TITLE = "Constructions over seeds"
QUESTION = "What does connectivity cost?"
CHOSEN = (
    "One configuration per dataset, model and construction, all of one recipe (training, width, members): the one "
    "that was run on fresh seeds, else the one with the most seeds (ties: the basin constraint, then validation NLL). "
)
ANSWERED = (
    "Soup: the centroid as one network, at 1/K of the inference cost. One basin: verdict that accuracy stays within "
    "the margin of the chord on the average path of these seeds; by loss: the same of the NLL; hull: the same of "
    "accuracy at the centroid and random mixtures. DEE: number of deep-ensemble members with the same calibrated "
    "log-likelihood, with its 95 % interval; the deep ensemble is the reference."
)
WHAT = (
    f"{CHOSEN}Mean ± half of the 95 % interval over seeds and images of the reported split (over seeds alone for ECE "
    "and trials without per-image outcomes; over images alone for one seed). Calibrated log-likelihood: at the best "
    f"temperature, cross-validated on test (Ashukha 2020). {ANSWERED} "
    "Bold: the best mean among configurations in one basin by accuracy, regardless of significance."
)
HEADLINE_WHAT = (
    f"{CHOSEN}Mean ± half of the 95 % interval over seeds and images of the reported split (over seeds alone for "
    f"trials without per-image outcomes; over images alone for one seed). {ANSWERED}"
)
"""How to read the table below the answers."""
NEEDS = "quickstart"

METRICS = [
    Column("accuracy", "accuracy (%)", r"accuracy (\%)"),
    Column("member_mean_accuracy", "mean member (%)", r"mean member (\%)"),
    Column("nll", "NLL (nats)", "NLL (nats)", digits=3),
    Column(
        "calibrated_log_likelihood", "calibrated log-likelihood (nats)", "calibrated log-likelihood (nats)", digits=3
    ),
    Column("ece", "ECE (%)", r"ECE (\%)"),
    Column("soup_accuracy", "soup (%)", r"soup (\%)"),
    Column("soup_nll", "soup NLL (nats)", "soup NLL (nats)", digits=3),
    Column("q_bar", "q̄ (points)", r"$\bar q$ (points)"),
]
LARGER_IS_BETTER = {
    "accuracy": True, "member_mean_accuracy": True, "nll": False, "calibrated_log_likelihood": True, "ece": False,
    "soup_accuracy": True, "soup_nll": False,
}  # fmt: skip
"""Metrics with a better direction. q̄ has none: values above 0 are no improvement."""
HEADLINE = ("accuracy", "member_mean_accuracy", "nll", "soup_accuracy", "soup_nll", "q_bar")
"""Metrics of the report's first table."""
VERDICTS: dict[str, tuple[By, bool]] = {
    "one basin": ("accuracy", False), "by loss": ("loss", False), "hull": ("accuracy", True),
}  # fmt: skip
"""Heading → what the verdict is about."""


def build(tables: Tables) -> Sheet:
    """Build one block per (dataset, model), the deep ensemble first."""

    def bold(by_name: dict[str, Configuration], metric: str) -> list[str]:
        return best_in_basin(tables, by_name, metric)

    extra = []
    for number, (name, about) in enumerate(VERDICTS.items()):
        extra.append((Column(f"basin_{number}", name, name), _verdict_cell(tables, *about)))
    dee = Column("dee", "DEE (members)", "DEE (members)")
    extra.append((dee, lambda configuration: Cell(worth_cell(tables, configuration))))
    return construction_sheet(tables, METRICS, bold=bold, extra=extra, note="; bold: best mean of those in one basin")


def headline_sheet(tables: Tables, by_name: Mapping[str, Configuration], metrics: Sequence[str] = HEADLINE) -> Sheet:
    """Build the table below the answers of one (dataset, model): quality, soup, verdicts and equivalents.

    `by_name` has the chosen configuration of each construction.
    """
    columns = [Column("construction", "construction", ""), Column("seeds", "seeds", "")]
    shown = [column for column in METRICS if column.name in metrics]
    columns += [*shown, *(Column(name, name, "") for name in VERDICTS), Column("dee", "DEE (members)", "")]
    rows = []
    for name in order(by_name):
        configuration, seeds = by_name[name], len(by_name[name].rows)
        cells = [Cell(estimate_metric(tables, configuration, column.name), of=seeds) for column in shown]
        judged = [_verdict_cell(tables, *about)(configuration) for about in VERDICTS.values()]
        rows.append([Cell(name), seeds_cell(configuration), *cells, *judged, Cell(worth_cell(tables, configuration))])
    keys = keys_of(by_name.values())
    return Sheet(columns, [rows], f"Split: {tables.split}. Mean ± half of the 95 % interval.", keys)


def _verdict_cell(tables: Tables, by: By, hull: bool) -> Callable[[Configuration], Cell]:
    return lambda configuration: Cell(verdicts.verdict_word(verdicts.find_verdict(tables, configuration, by, hull)))


def best_in_basin(tables: Tables, by_name: dict[str, Configuration], metric: str) -> list[str]:
    """Return the constructions in one basin by accuracy, the deep ensemble apart, that have the best mean."""
    rivals = {name: estimate_metric(tables, c, metric) for name, c in by_name.items() if name != REFERENCE}
    means = {
        name: rival.mean for name, rival in rivals.items() if rival and verdicts.in_one_basin(tables, by_name[name])
    }
    if metric not in LARGER_IS_BETTER or not means:
        return []
    best = (max if LARGER_IS_BETTER[metric] else min)(means.values())
    return [name for name, mean in means.items() if mean == best]
