"""The main table: what each construction reaches, over seeds."""

from dataclasses import replace

from analysis.constructions import by_construction
from analysis.equivalent import in_text, worth
from analysis.queries import Configuration, Tables, connected, estimate
from analysis.sheet import Cell, Column, Sheet

TITLE = "Constructions over seeds"
WHAT = (
    "Per dataset, model and construction, the configuration with the most seeds (ties: mean validation accuracy) of "
    "one recipe (training, width, members): mean ± half of the 95 % Student-t interval over seeds on the reported "
    "split. Calibrated NLL: at the temperature that fits it best, by cross-validation on test (Ashukha 2020). DEE: "
    "members of a deep ensemble with the same calibrated NLL, where the results hold deep ensembles of several sizes. "
    "Bold: the best mean among connected configurations (worst validation barrier of every seed below 2 points); bold "
    "says nothing about significance."
)
NEEDS = "python launch.py sweep {sweep}"

METRICS = [
    Column("accuracy", "accuracy (%)", r"accuracy (\%)"),
    Column("member_mean_accuracy", "mean member (%)", r"mean member (\%)"),
    Column("nll", "NLL (nats)", "NLL (nats)", digits=3),
    Column(
        "calibrated_log_likelihood",
        "calibrated NLL (nats)",
        "calibrated NLL (nats)",
        3,
        factor=-1,
        csv="calibrated_nll",
    ),
    Column("ece", "ECE (%)", r"ECE (\%)"),
    Column("q_bar", "q̄ (points)", r"$\bar q$ (points)"),
]
LARGER_IS_BETTER = {
    "accuracy": True, "member_mean_accuracy": True, "nll": False, "calibrated_log_likelihood": True, "ece": False,
}  # fmt: skip
"""Where a best exists; q̄ says what a construction is, above 0 it is not better still."""
NO_DEE = "DEE needs deep ensembles of several sizes: python launch.py sweep ensemble-size, then --with ensemble-size."


def build(tables: Tables) -> Sheet:
    """One block a (dataset, model), the deep ensemble first as the reference."""
    dee = Column("dee", "DEE (members)", "DEE (members)")

    def bold(by_name: dict[str, Configuration], metric: str) -> list[str]:
        return winners(tables, by_name, metric)

    def cell(configuration: Configuration) -> Cell:
        return Cell(in_text(worth(tables, configuration)))

    sheet = by_construction(tables, METRICS, bold=bold, extra=[(dee, cell)], note="; bold: best mean of the connected")
    return sheet if any(row[-1].value for row in sheet.rows) else replace(sheet, note=f"{sheet.note} {NO_DEE}")


def winners(tables: Tables, by_name: dict[str, Configuration], metric: str) -> list[str]:
    """The connected constructions, the deep ensemble apart, with the best mean."""
    rivals = {name: estimate(tables, c, metric) for name, c in by_name.items() if name != "deep"}
    means = {name: found.mean for name, found in rivals.items() if found and connected(tables, by_name[name])}
    if metric not in LARGER_IS_BETTER or not means:
        return []
    best = (max if LARGER_IS_BETTER[metric] else min)(means.values())
    return [name for name, mean in means.items() if mean == best]
