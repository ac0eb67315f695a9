"""Search methods on recorded trials: member-images until the best feasible configuration is found; trains nothing.

Example: python -m benchmarks search-replay --set plot=build/search-replay.png

`--set sweep=results/NAME` replays another sweep, which may be running, and `--set extract=FILE` keeps what is needed of
it: `benchmarks/recorded/search.parquet` was made so. Regret is the difference to the best feasible value of the record.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from scipy import stats as scipy_stats  # type: ignore[import-untyped]

from basin.errors import UsageError
from basin.spec import Bounds, Checked
from benchmarks.machine import describe_machine
from benchmarks.options import Options
from benchmarks.progress import announce, paced, tell_result
from benchmarks.recorded_trials import RecordedTrials, extract_trials, read_recorded, write_recorded
from benchmarks.replayed_search import Curve, Method, methods, replay
from benchmarks.report import Report, markdown_report
from sweeps.execution.early_stopping import MIDPOINTS
from sweeps.study.objectives import BASIN, early_score

RECORDED = Path(__file__).parent / "recorded" / "search.parquet"
"""The record that is replayed unless a sweep is named."""
REFERENCE = "random"
QUICK = {"replications": "5"}
COLOURS = {"random": "#222222", "tpe": "#4477aa", "warm start": "#ee6677"}
STYLES = {"late asha": "-.", "nearest": ":", "asha": "--"}


@dataclass(frozen=True, kw_only=True)
class Settings(Checked):
    """What is replayed, and how often."""

    sweep: str = str(RECORDED)
    """A sweep's folder, which is only read, or a file of recorded trials."""
    extract: str = ""
    """File to write the recorded trials of the sweep's folder to, instead of replaying them (nothing: replay)."""
    replications: Annotated[int, Bounds(2)] = 100
    """Replays of each method, with seeds 0, 1, …"""
    budgets: str = "10,20,40"
    """Member-images at which regret is compared, in units of the mean whole trial, separated by commas."""
    within: float = 0.01
    """Regret at which a search counts as successful: nats, where the objective is the NLL."""
    short: Annotated[int, Bounds(1)] = 20
    """Short trials of a warm start."""
    short_epochs: Annotated[int, Bounds(1)] = 2
    """Epochs of the branches in a short trial; the record must have reports of this epoch."""
    plot: str = ""
    """File to draw the regret in (nothing: none)."""


@dataclass(frozen=True)
class Replayed:
    """The replays of a method."""

    name: str
    curves: Sequence[Curve]
    recorded: RecordedTrials

    def regrets(self, budget: float) -> NDArray[np.float64]:
        """Regret of each replay at a budget; with nothing feasible found, that of the worst feasible trial."""
        values = self.recorded.values
        worst = float(values[np.isfinite(values)].max())
        found = [min(curve.best_at(budget), worst) for curve in self.curves]
        return np.array(found) - self.recorded.best

    def costs(self, within: float) -> NDArray[np.float64]:
        """Member-images of each replay until its regret was at most `within`; ∞ if it was never."""
        return np.array([curve.cost_of(self.recorded.best + within) for curve in self.curves])

    @property
    def trials(self) -> float:
        """Mean number of trials that a replay began."""
        return float(np.mean([len(curve.spent) for curve in self.curves]))


def run(options: Options) -> Report:
    """Replay every method, or write the record of a sweep."""
    settings = options.settle(Settings())
    machine = describe_machine(options.device)
    if settings.extract:
        table = extract_trials(Path(settings.sweep))
        write_recorded(table, Path(settings.extract))
        numbers = {"trials": float(table.num_rows), "bytes": float(Path(settings.extract).stat().st_size)}
        return Report("search-replay", machine, (), numbers)
    recorded = read_recorded(Path(settings.sweep))
    whole = float(recorded.costs.mean())
    budgets = _fitting_budgets(settings, recorded)
    replayed = []
    for name, method in paced(methods(settings.short, settings.short_epochs).items(), "methods"):
        ran = _replay_method(name, method, recorded, settings.replications, max(budgets) * whole)
        replayed.append(ran)
        tell_result(name, _method_text(ran, budgets, whole))
    if settings.plot:
        _draw_figure(replayed, max(budgets) * whole, Path(settings.plot))
    sections = (
        _record_text(recorded, settings),
        _method_table(replayed, settings, budgets, whole),
        _verdict(replayed, budgets, whole),
        _fidelity_table(recorded),
    )
    numbers = _record_numbers(recorded, settings) | {"replications": float(settings.replications)}
    return Report("search-replay", machine, (), numbers, sections=sections)


def _fitting_budgets(settings: Settings, recorded: RecordedTrials) -> list[float]:
    """The budgets up to half of the record: beyond, good trials that have run already are missed by samplers."""
    try:
        asked = sorted(float(text) for text in settings.budgets.split(","))
    except ValueError:
        raise UsageError(f"budgets={settings.budgets}: expected numbers of trials, such as 10,20,40") from None
    fitting = [budget for budget in asked if 0 < budget <= len(recorded) / 2]
    if not fitting:
        raise UsageError(f"budgets={settings.budgets}: expected one up to {len(recorded) / 2:g}, half of the record")
    if dropped := asked[len(fitting) :]:
        words = ", ".join(f"{budget:g}" for budget in dropped)
        announce(f"budgets {words} left out: more than half of {len(recorded)} recorded trials")
    return fitting


def _replay_method(name: str, method: Method, recorded: RecordedTrials, replications: int, budget: float) -> Replayed:
    curves = [
        replay(recorded, method.make(recorded, seed), rungs=method.rungs, budget=budget) for seed in range(replications)
    ]
    return Replayed(name, curves, recorded)


def _method_text(ran: Replayed, budgets: Sequence[float], whole: float) -> str:
    regrets = (f"{1000 * ran.regrets(budget * whole).mean():.1f} at {budget:g}" for budget in budgets)
    return f"mean regret × 1000: {', '.join(regrets)} trials' worth"


def _record_text(recorded: RecordedTrials, settings: Settings) -> str:
    facts = recorded.facts
    machine = ", ".join([*facts["device_name"], f"{' or '.join(facts['threads'])} thread(s)"])
    best = abs(recorded.best)
    near = int(np.count_nonzero(recorded.values <= recorded.best + settings.within))
    return (
        f"**Record**: {len(recorded)} trials of sweep {', '.join(facts['sweep'])} ({machine}, torch "
        f"{', '.join(facts['torch_version'])}, commit {', '.join(name[:7] for name in facts['commit'])}); "
        f"{int(np.isfinite(recorded.values).sum())} satisfy the limits, and {near} of them are within "
        f"{settings.within:g} of the best, {recorded.study.objectives[0]} {best:.4f}. A whole trial costs "
        f"{recorded.costs.mean() / 1000:.1f} thousand member-images on average, without shared trunks and teachers."
    )


def _method_table(replayed: Sequence[Replayed], settings: Settings, budgets: Sequence[float], whole: float) -> str:
    heads = ["method", f"million member-images to a regret of {settings.within:g}, median (quartiles)"]
    heads += [f"mean regret × 1000 at {budget:g} trials' worth" for budget in budgets]
    heads += [f"trials begun at {max(budgets):g}"]
    rows = []
    for ran in replayed:
        cells = [ran.name, _cost_text(ran.costs(settings.within))]
        for budget in budgets:
            regrets = 1000 * ran.regrets(budget * whole)
            cells.append(f"{regrets.mean():.1f} ± {scipy_stats.sem(regrets):.1f}")
        rows.append([*cells, f"{ran.trials:.0f}"])
    return markdown_report(heads, rows)


def _cost_text(costs: NDArray[np.float64]) -> str:
    """Median and quartiles in millions; those of searches without success are not known."""
    lower, median, upper = np.quantile(costs, [0.25, 0.5, 0.75], method="inverted_cdf") / 1e6
    return f"{_million(median)} ({_million(lower)}–{_million(upper)})"


def _million(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "not reached"


def _verdict(replayed: Sequence[Replayed], budgets: Sequence[float], whole: float) -> str:
    """The method with the lowest regret, as a mean over the budgets, and its difference to random search."""
    means = {ran.name: _mean_regrets(ran, budgets, whole) for ran in replayed}
    name = min(means, key=lambda name: float(means[name].mean()))
    lines = [
        f"Lowest regret, as a mean over the budgets: **{name}**. Differences × 1000 of these means to {REFERENCE}:\n"
    ]
    for other, regrets in means.items():
        if other != REFERENCE:
            gap, half = _difference(regrets, means[REFERENCE])
            lines.append(f"- {other}: {1000 * gap:+.1f} ± {1000 * half:.1f}")
    lines.append("\n± is a 95 % interval over replays of this one record; another record would move it further.")
    return "\n".join(lines)


def _mean_regrets(ran: Replayed, budgets: Sequence[float], whole: float) -> NDArray[np.float64]:
    every = np.array([ran.regrets(budget * whole) for budget in budgets])
    return np.asarray(every.mean(axis=0))


def _difference(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> tuple[float, float]:
    """Difference of two means of independent replays, and half of its 95 % interval (Welch)."""
    parts = np.array([regrets.var(ddof=1) / len(regrets) for regrets in (ours, theirs)])
    variance, sizes = float(parts.sum()), np.array([len(ours), len(theirs)])
    if not variance:
        return float(ours.mean() - theirs.mean()), 0.0
    freedom = variance**2 / float((parts**2 / (sizes - 1)).sum())
    return float(ours.mean() - theirs.mean()), float(scipy_stats.t.ppf(0.975, freedom)) * math.sqrt(variance)


def _fidelity_table(recorded: RecordedTrials) -> str:
    """How well scores at each epoch of the branches predict the end: ranks of the objective, sides of the margin."""
    objective = recorded.study.objectives[0]
    ends = {i: row for i, row in enumerate(recorded.rows) if row["status"] == "done"}
    rows = []
    for step in sorted({report["step"] for reports in recorded.reports for report in reports}):
        early = {
            i: report
            for i in ends
            for report in recorded.reports[i]
            if report["step"] == step and report["progress"] < 1
        }
        if len(early) < 3:
            continue
        scores = [(report[early_score(objective)], ends[i][objective]) for i, report in early.items()]
        inside = [
            (report[MIDPOINTS] <= recorded.study.margin) == (ends[i][BASIN] <= recorded.study.margin)
            for i, report in early.items()
            if report[MIDPOINTS] is not None and ends[i][BASIN] is not None
        ]
        share = np.mean([report["passes"] / ends[i]["passes"] for i, report in early.items()])
        agree = f"{100 * np.mean(inside):.0f} %" if inside else ""
        rows.append([f"{step}", f"{100 * share:.0f} %", f"{_rank_correlation(scores):.2f}", agree])
    return markdown_report(
        ["epoch of the branches", "passes", f"rank correlation of {objective} with its end", "same side of the margin"],
        rows,
    )


def _rank_correlation(pairs: Sequence[tuple[float, float]]) -> float:
    first, second = np.array(pairs, dtype=float).T
    return float(scipy_stats.spearmanr(first, second).statistic)


def _record_numbers(recorded: RecordedTrials, settings: Settings) -> dict[str, float]:
    """Trials, and how noisy the objective is."""
    rows, objective = recorded.rows, recorded.study.objectives[0]
    done = [row for row in rows if row["status"] == "done"]
    feasible = [row for row, value in zip(rows, recorded.values, strict=True) if math.isfinite(value)]
    numbers = {
        "recorded trials": float(len(rows)),
        "feasible trials": float(len(feasible)),
        "standard deviation of the objective, all": float(np.std([row[objective] for row in done], ddof=1)),
        "difference of neighbours, one seed / √2": _neighbour_noise(recorded),
    }
    test = objective.replace("val_", "test_")
    if len(feasible) > 2 and all(row.get(test) is not None for row in feasible):
        scores = [(row[objective], row[test]) for row in feasible]
        chosen = min(feasible, key=lambda row: recorded.values[recorded.rows.index(row)])
        sign = -recorded.study.signs[0]
        numbers["rank correlation of validation and test, feasible"] = _rank_correlation(scores)
        numbers["test regret of the best on validation"] = sign * chosen[test] - min(sign * y for _, y in scores)
    return numbers


def _neighbour_noise(recorded: RecordedTrials) -> float:
    """Standard deviation between neighbours in the space, all of one seed: it does not bound the noise of seeds.

    From the median difference of nearest neighbours, as if differences were normal; the lowest over the constructions.
    """
    bounds = []
    for name in recorded.study.space.constructions:
        own = [i for i, row in enumerate(recorded.rows) if row["construction"] == name and row["status"] == "done"]
        if len(own) < 3:
            continue
        points = np.array([recorded.points[i] for i in own])
        scores = np.array([recorded.rows[i][recorded.study.objectives[0]] for i in own])
        distances = np.sum((points[:, None] - points[None]) ** 2, axis=2)
        np.fill_diagonal(distances, np.inf)
        gaps = np.abs(scores - scores[distances.argmin(axis=1)])
        bounds.append(float(np.median(gaps) / scipy_stats.norm.ppf(0.75) / math.sqrt(2)))
    return min(bounds, default=math.nan)


def _draw_figure(replayed: Sequence[Replayed], budget: float, path: Path) -> None:
    """Mean regret against member-images, a line for each method."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    grid = np.linspace(budget / 40, budget, 80)
    for ran in replayed:
        regrets = np.array([ran.regrets(spent) for spent in grid])
        colour = [colour for word, colour in COLOURS.items() if word in ran.name][-1]
        style = next((style for word, style in STYLES.items() if word in ran.name), "-")
        axes.plot(grid / 1e6, regrets.mean(axis=1), style, color=colour, label=ran.name)
    axes.set(xlabel="million member-images", ylabel="mean regret", yscale="log")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)
