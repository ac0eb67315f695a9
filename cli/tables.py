"""Tables of the best configurations, as text and CSV."""

import csv
import io
from collections.abc import Collection, Mapping, Sequence
from itertools import chain
from textwrap import fill
from typing import Any

from rich.console import Console

from cli.metric_words import metric_words
from cli.sheet import Column, Sheet, print_sheet
from stats.intervals import Estimate
from sweeps.queries.best import Area, Best
from sweeps.queries.groups import Group
from sweeps.queries.means import estimate_metric, verdict_word
from sweeps.study.objectives import EXCESSES

REPORTED_RANKS = {"accuracy": 1, "nll": 6, "q_bar_reset": 2, "soup_accuracy": 7, "member_mean_accuracy": 8}
"""Metric of the table of reported configurations → rank of its column (`cli.sheet`)."""
SEARCH_RANKS = {"accuracy": 1, "q_bar_reset": 4, "basin_upper_reset": 40}
"""The same for the table of searched configurations."""
COLUMNS = ("accuracy", "member_mean_accuracy", "soup_accuracy", "nll", "q_bar_reset")
"""Metrics of the CSV."""
UNDIRECTED = ("q_bar_reset", "basin_upper_reset")
"""Metrics without an arrow: q̄ above 0 is no improvement, and a bound has its sign."""
HEADINGS = {"member_mean_accuracy": "mean member", "soup_accuracy": "soup", "basin_upper_reset": "dip ≤"}
"""Metric → heading of its column, if that differs."""
MODELS = ("dataset", "model")
NONE = "–"
"""Cell without a number."""
SENTENCES = 8
"""Largest number of reported configurations whose verdicts are printed as sentences."""


def print_best(answer: Best, split: str, console: Console) -> None:
    """Print the chosen configurations on fresh seeds, their verdicts as sentences, and the best of the search."""
    print_reported(answer, split, console)
    for group in [*answer.chosen, *answer.references]:
        for line in _verdict_lines(group, split) if len(answer.chosen) <= SENTENCES else ():
            console.print(fill(line, console.width, subsequent_indent="  "))
    if answer.listed:
        headings = print_sheet(_search_table(answer), console)
        for note in _notes(answer, headings):
            console.print(note, soft_wrap=False)
    if answer.omitted:
        bounds = ", ".join(map(str, answer.bounds))
        console.print(f"{answer.omitted} rows are omitted: they do not satisfy {bounds}", soft_wrap=False)
    if answer.infeasible:
        shown = "all of them, so these are shown" if answer.infeasible == answer.searched else "omitted"
        console.print(
            f"{answer.infeasible} of {answer.searched} configurations are not shown to satisfy the limits "
            f"({_describe_limits(answer)}): {shown}",
            soft_wrap=False,
        )
    if answer.area:
        console.print(_describe_area(answer, answer.area), soft_wrap=False)


def print_reported(answer: Best, split: str, console: Console) -> None:
    """Print the means of the chosen configurations and of their references over fresh seeds."""
    if not answer.chosen and not answer.references:
        return
    headings = print_sheet(_reported_table(answer, split), console)
    console.print("a row is a configuration; its key is the trial of its smallest seed", soft_wrap=False)
    if any(heading.endswith("*") for heading in headings):
        console.print(
            f"* {metric_words(answer.y)} on validation, over the seeds of the search that chose the row: "
            "optimistic; the fresh seeds took no part",
            soft_wrap=False,
        )


def _describe_area(answer: Best, area: Area) -> str:
    ends = {answer.y: f"{area.y:.{answer.glossary.digits(answer.y)}f} (the mean member of {area.of})"}
    ends[answer.x] = f"{area.x:g} (the margin)"
    sides = {name: "below" if answer.glossary.sign(name) < 0 else "above" for name in ends}
    words = " and ".join(f"{sides[name]} {metric_words(name)} {end}" for name, end in ends.items())
    return f"hypervolume of the front on validation: {area.size:.3g}, the area {words}"


def format_csv(answer: Best, split: str) -> str:
    """The same as CSV: reported configurations on this split, searched ones on validation; means over the seeds."""
    text = io.StringIO()
    names = _differing_names(answer)
    shown = list(dict.fromkeys([*COLUMNS, answer.x, *_asked_metrics(answer)]))
    numbers = list(chain.from_iterable((name, f"{name}_half") for name in shown))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["table", "role", "key", "construction", *names, "split", "seeds", *numbers, "verdict"])
    reported = [("reported", group, split) for group in (*answer.chosen, *answer.references)]
    for table, group, of in [*reported, *(("searched", group, "val") for group in answer.listed)]:
        params = [group.first.params.get(name, "") for name in names]
        estimates = [estimate_metric(group, of, name) for name in shown]
        halves = [("" if e is None else e.mean, "" if e is None or e.half is None else e.half) for e in estimates]
        about = [table, group.first.role, group.first.key, group.first.construction, *params, of, len(group.runs)]
        writer.writerow([*about, *chain.from_iterable(halves), verdict_word(group, of)])
    return text.getvalue()


def _describe_limits(answer: Best) -> str:
    return ", ".join(map(str, answer.aim.limits)) or "as recorded with the trials"


def _reported_table(answer: Best, split: str) -> Sheet:
    """Means over the fresh seeds, beside the validation score by which the search chose."""
    groups = [*answer.chosen, *answer.references]
    counts = {_seed_count(group) for group in groups}
    fresh = "fresh " if any(group.first.role == "fresh" for group in answer.chosen) else ""
    over = f"{fresh}seeds"
    if len(counts) == 1:
        count = counts.pop()
        over = f"{count} {fresh}seed{'' if count == '1' else 's'}"
    what = "Chosen configurations" if fresh else "Configurations"
    columns = [
        Column("trial", [group.first.key[:8] for group in groups], 0),
        Column("construction", [_construction_name(group) for group in groups], 0),
        *_metric_columns(answer, groups, split, REPORTED_RANKS),
        Column("one basin", [verdict_word(group, split) for group in groups], 2),
    ]
    if any(group.searched is not None for group in groups):
        digits = answer.glossary.digits(answer.y)
        scores = ["" if group.searched is None else _format_number(group.searched, digits) for group in groups]
        columns.insert(3, Column(f"val {_heading(answer, answer.y)}*", scores, 3, right=True))
    if counts:
        columns.append(Column("seeds", [_seed_count(group) for group in groups], 5, right=True))
    columns += _parameter_columns(answer, groups, 30 if fresh else 1)  # they alone tell the rows of a grid apart
    title = f"{what} on {over}: means on {split} ± half of the 95 % interval {_interval_words(groups)}"
    return Sheet(title, columns, (len(answer.chosen),) if answer.references else ())


def _interval_words(groups: Sequence[Group]) -> str:
    """Say what the intervals are over: those of a configuration with one seed do not cover other seeds."""
    single = [len(group.runs) == 1 for group in groups]
    if all(single):
        return "over images alone"
    return "over seeds and images" + (" (one seed: over images alone)" if any(single) else "")


def _asked_metrics(answer: Best) -> list[str]:
    """Metrics that the user or the study's aim names."""
    return [answer.y, *([] if answer.ranked else [answer.x]), *(bound.column for bound in answer.bounds)]


def _metric_columns(answer: Best, groups: Sequence[Group], split: str, ranks: Mapping[str, int]) -> list[Column]:
    """Columns of the metrics asked for, then of those of `ranks`."""
    columns = []
    for name, rank in (dict.fromkeys(_asked_metrics(answer), 0) | _without(ranks, _asked_metrics(answer))).items():
        digits = answer.glossary.digits(name)
        cells = [_mean_cell(group, split, name, digits) for group in groups]
        if not rank or set(cells) != {NONE}:
            columns.append(Column(_heading(answer, name), cells, rank, right=True))
    return columns


def _without(ranks: Mapping[str, int], names: Sequence[str]) -> dict[str, int]:
    return {name: rank for name, rank in ranks.items() if name not in names}


def _construction_name(group: Group) -> str:
    return group.first.construction + (" (ref.)" if group.first.role == "reference" else "")


def _heading(answer: Best, name: str) -> str:
    return (
        f"{HEADINGS.get(name, metric_words(name))} {'' if name in UNDIRECTED else answer.glossary.arrow(name)}".strip()
    )


def _parameter_columns(answer: Best, groups: Sequence[Group], rank: int) -> list[Column]:
    """Hyperparameters in which configurations differ."""
    columns = []
    for at, name in enumerate(_differing_names(answer)):
        values = [shorten(group.first.params.get(name, "")) for group in groups]
        columns.append(Column(name, values, rank + at, right=True))
    return columns


def _search_table(answer: Best) -> Sheet:
    """Searched configurations with their validation scores, which decide."""
    all_infeasible = answer.infeasible == answer.searched
    if answer.ranked:
        title = f"Best {len(answer.listed)} of {answer.searched} searched configurations by {metric_words(answer.y)}"
        title += " on validation"
        title += (
            ", the closest to one basin first"
            if all_infeasible
            else ", of those within the limits" * bool(answer.infeasible)
        )
    else:
        title = f"Non-dominated configurations by {metric_words(answer.x)} and {metric_words(answer.y)} on validation"
    groups = answer.listed
    columns = [
        Column("trial", [group.first.key[:8] for group in groups], 0),
        Column("construction", [group.first.construction for group in groups], 0),
        *_metric_columns(answer, groups, "val", SEARCH_RANKS),
        Column("one basin", [verdict_word(group, "val") for group in groups], 2),
    ]
    if any(len(group.runs) > 1 for group in groups):
        columns.append(Column("seeds", [str(len(group.runs)) for group in groups], 3, right=True))
    return Sheet(title, [*columns, *_parameter_columns(answer, groups, 5)])


def _notes(answer: Best, shown: Collection[str]) -> list[str]:
    """Explain columns of the search that could be mistaken for another metric, if their headings are shown."""
    bound = HEADINGS["basin_upper_reset"]
    notes = [f"{bound}: 95 % upper bound of the points that the average path loses on validation"] * (bound in shown)
    if not answer.ranked and any(f"{name}_".startswith(EXCESSES) for name in (answer.x, answer.y)):
        notes.append("the front counts q̄ above 0 as 0: members worse than their midpoints are no merit")
    return notes


def _differing_names(answer: Best) -> list[str]:
    """Hyperparameters in which the shown configurations differ; with several models only those of constructions."""
    params = [group.first.params for group in (*answer.chosen, *answer.listed)]
    several = [name for name in MODELS if len({values.get(name) for values in params} - {None}) > 1]
    training = answer.glossary.training if "model" in several else ()
    names = [*several, *answer.glossary.varying(params), *answer.glossary.differing(params)]
    return [name for name in dict.fromkeys(names) if name not in training]


def _seed_count(group: Group) -> str:
    lost = group.verdicts.get("lost", 0)
    return f"{len(group.runs)} ({lost} diverged)" if lost else str(len(group.runs))


def _verdict_lines(group: Group, split: str) -> list[str]:
    """Sentences about the verdict, and about a configuration that was chosen though none is in one basin."""
    verdicts, name = group.verdicts.get(split) or {}, group.first.construction
    lines = []
    if "accuracy" in verdicts:
        others = [f"{what}: {verdicts[key]['answer']}" for key, what in OTHER_VERDICTS.items() if key in verdicts]
        sentences = [_verdict_sentence(verdicts["accuracy"]), *others]
        lines.append(f"{name}, {_count_seeds(group)}: {'; '.join(sentences)}")
    if group.beyond is not None and group.beyond > 0:
        lines.append(
            f"{name}: no searched configuration was shown to be in one basin; "
            f"the chosen one was the closest, {group.beyond:.1f} points beyond the margin on validation"
        )
    return lines


OTHER_VERDICTS = {"loss": "by loss", "hull": "in the convex hull"}
"""Verdict other than that by accuracy → its name."""


def _count_seeds(group: Group) -> str:
    return f"these {len(group.runs)} seeds" if len(group.runs) > 1 else "this seed"


def _verdict_sentence(verdict: Mapping[str, Any]) -> str:
    weakest, margin = verdict["weakest"], verdict["margin"]
    i, j = weakest["pair"]
    low, mean, high = (_format_number(weakest[name]) for name in ("low", "mean", "high"))
    place = f"members {i} and {j} of seed {weakest['seed']} at α = {weakest['alpha']:.2g}"
    worst = f"the weakest path, {place}, loses {mean} points (simultaneous 95 % CI {low} to {high})"
    average = f"the average path loses at most {_format_number(max(0.0, verdict['upper']))} points (95 %)"
    lowest = f"{_format_number(verdict['lower'])} points"
    if verdict["answer"] == "yes":
        return f"in one basin, margin {margin:g} points: {average}; {worst}"
    if verdict["answer"] == "no":
        return f"not in one basin, margin {margin:g} points: some path loses at least {lowest} (95 %); {worst}"
    enough = (
        f"about {verdict['needed']} images would decide" if verdict["needed"] else "more images are unlikely to decide"
    )
    return f"undecided, margin {margin:g} points, {enough}: {average}; {worst}"


def _mean_cell(group: Group, split: str, name: str, digits: int) -> str:
    """Mean over the seeds, with half of its 95 % interval."""
    estimate = estimate_metric(group, split, name)
    if estimate is None:
        return NONE  # a single network has no pairs, one without BatchNorm a single policy
    return estimate.format(digits)


def _format_number(value: float, digits: int = 1) -> str:
    """Format with the minus sign of the tables."""
    return Estimate(value, None, 1).format(digits)


def shorten(text: str) -> str:
    """Shorten a number to three digits; other texts stay."""
    try:
        return f"{float(text):.3g}"
    except ValueError:
        return text
