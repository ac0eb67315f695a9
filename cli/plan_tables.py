"""Print the plan of a sweep: stages, trials, passes, hours."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain

from rich.console import Console

from cli.sheet import Column, Sheet, print_sheet
from cli.sizes import describe_size
from sweeps.execution.disk import estimate_disk
from sweeps.execution.options import Options
from sweeps.execution.plan import Plan, Work, estimated_seconds, remaining_work
from sweeps.execution.plane_cost import estimate_planes
from sweeps.execution.processors import fitting_trials
from sweeps.execution.stages import Stage
from sweeps.execution.throughput import Kind, Throughput


def print_plan(
    planned: Plan,
    known: Mapping[Kind, list[Throughput]],
    options: Options,
    console: Console,
    price: float | None = None,
) -> None:
    """Print what exists, what is left, its disk, and how long it takes and costs as far as that is known.

    `price` is that of a machine hour.
    """
    stages, roles = remaining_work(planned)
    every = [*stages, *chain.from_iterable(roles.values())]
    counted = sum(one.left * planned.spent_passes(one).passes for one in planned.trials)
    if planned.stages:
        print_sheet(_stage_sheet(planned), console)
    print_sheet(_trial_sheet(planned, roles), console)
    console.print(
        f"to train: {_total_passes(stages)} passes in shared stages and {_total_passes(every) - _total_passes(stages)} "
        f"in trials ({counted:.0f} including shared work)",
        soft_wrap=False,
    )
    if words := _describe_planes(planned):
        console.print(words, soft_wrap=False)
    console.print(_describe_disk(planned, options), soft_wrap=False)
    _print_hours(every, known, options, console, price)


def _total_passes(works: Iterable[Work]) -> int:
    return round(sum(work.passes for work in works))


def _stage_sheet(planned: Plan) -> Sheet:
    """One line for each folder of `runs/`, with the roles of the trials that use it."""
    users: dict[str, Counter[str]] = defaultdict(Counter)
    for one in planned.trials:
        if any(one.trial.construction.needs(planned.count_steps(one.trial)).values()):
            users[one.trial.recipe_key][one.role] += 1
    groups: dict[str, list[Stage]] = defaultdict(list)
    for stage in planned.stages:
        groups[stage.trial.recipe_key].append(stage)
    flats = [stages[0].trial.flat() for stages in groups.values()]
    left = [[planned.missing_passes(stage) for stage in stages] for stages in groups.values()]
    finished = [f"{parts.count(0)} of {len(parts)}" for parts in left]
    columns = [
        Column("runs/", [recipe[:8] for recipe in groups], 0),
        Column("model", [str(flat["model"]) for flat in flats], 1),
        Column("seed", [str(flat["seed"]) for flat in flats], 0, right=True),
        Column("member → step", list(map(_describe_members, groups.values())), 3),
        Column("finished", finished, 0, right=True),
        Column("passes left", [str(sum(parts)) for parts in left], 0, right=True),
        Column("for", [", ".join(users[recipe]) for recipe in groups], 2),
    ]
    return Sheet("Stages: networks that trials share, trained once", columns)


def _describe_members(stages: Sequence[Stage]) -> str:
    """Members and the step up to which they are trained: `0–3 → 160`."""
    by_step: dict[int, list[int]] = defaultdict(list)
    for stage in stages:
        by_step[stage.step].append(stage.member)
    parts = []
    for step, members in by_step.items():
        first, last = min(members), max(members)
        whole = len(members) == last - first + 1 > 1
        parts.append(f"{f'{first}–{last}' if whole else ', '.join(map(str, members))} → {step}")
    return "; ".join(parts)


def _trial_sheet(planned: Plan, roles: Mapping[str, list[Work]]) -> Sheet:
    counts = [planned.counts[role] for role in roles]
    names = [_construction_names(planned, role) for role in roles]
    columns = [
        Column("trials", list(roles), 0),
        Column("construction", names, 1),
        Column("total", [str(count) for count, _ in counts], 0, right=True),
        Column("finished", [str(finished) for _, finished in counts], 0, right=True),
        Column("left", [str(count - finished) for count, finished in counts], 0, right=True),
        Column("passes left", [str(_total_passes(works)) for works in roles.values()], 0, right=True),
    ]
    return Sheet("Trials", columns)


def _construction_names(planned: Plan, role: str) -> str:
    names = [str(one.trial.flat()["construction"]) for one in planned.trials if one.role == role]
    return ", ".join(dict.fromkeys(names))


def _describe_planes(planned: Plan) -> str:
    """The networks of the planes, and the training that takes about as long; empty without a plane to score."""
    cost = estimate_planes(planned)
    if not cost.planes:
        return ""
    return (
        f"planes: {cost.planes:.0f}, of {cost.networks:.0f} networks, which predict {cost.images:,.0f} images: no "
        f"longer than about {cost.passes:.0f} passes of training (--set plane_points=0 leaves them out)"
    )


def _describe_disk(planned: Plan, options: Options) -> str:
    """The bytes that trials and stages will fill, and where the estimate comes from."""
    disk = estimate_disk(planned, options.storage, logged=options.tracking_uri is None)
    parameters = f"{disk.parameters:,} numbers of a network; tables come on top"
    source = f"measured on {disk.sampled} trials of this storage" if disk.sampled else f"from {parameters}"
    source += f", others from {parameters}" if disk.sampled and disk.guessed else ""
    return f"disk: {describe_size(disk.trials)} for trials ({source}) and {describe_size(disk.stages)} for stages"


def _print_hours(
    works: Sequence[Work],
    known: Mapping[Kind, list[Throughput]],
    options: Options,
    console: Console,
    price: float | None,
) -> None:
    left = [work for work in works if work.passes or work.trials]
    rates = {rate: bool(dict(work.kind)["plane_points"]) for work in left for rate in known.get(work.kind, ())}
    for rate, has_plane in rates.items():
        what = "measurements and a plane" if has_plane else "measurements"
        overhead = f" and {rate.overhead:.3g} s per trial for {what}" if rate.overhead else ""
        console.print(
            f"throughput on {rate.device}: {rate.passes:.4g} passes/s{overhead} ({rate.source})", soft_wrap=False
        )
    for device, seconds in estimated_seconds(left, known).items():
        hours = seconds / 3600
        parts = [f"{hours * options.cpus_per_trial:.3g} core-hours"] if options.cpus_per_trial else []
        parts += [f"{hours * options.gpus_per_trial:.3g} GPU-hours"] if options.gpus_per_trial else []
        console.print(
            f"estimate on {device}: {hours:.3g} hours with the resources of one trial, {', '.join(parts)}",
            soft_wrap=False,
        )
        if price is not None:
            console.print(_describe_price(hours, price, options), soft_wrap=False)
    unknown = {str(dict(work.kind)["model"]) for work in left if work.kind not in known}
    if unknown:
        console.print(
            f"no throughput is known for {', '.join(sorted(unknown))}: measure it with --probe or set it with --rate",
            soft_wrap=False,
        )


def _describe_price(hours: float, price: float, options: Options) -> str:
    """The cost of machines that run as many trials at once as this one can, or as --concurrency says."""
    at_once = options.concurrency or fitting_trials(options)
    machine_hours = hours / at_once
    where = "--concurrency" if options.concurrency else "as many as fit this machine"
    return (
        f"price: {machine_hours * price:.2f}, for {machine_hours:.3g} machine hours at {price:g} "
        f"with {at_once} trials at once ({where})"
    )
