"""Say what `gc` removes, or would remove."""

from collections.abc import Collection, Sequence
from itertools import chain

from rich.console import Console

from cli.sheet import Column, Sheet, print_sheet
from cli.sizes import describe_size
from sweeps.execution.unneeded import Kind, Unneeded

OPTIONS = {
    Kind.tables: "--delete",
    Kind.leftovers: "--delete",
    Kind.old_stages: "--stages --delete",
    Kind.unused_stages: "--stages --delete",
    Kind.weights: "--weights --delete",
    Kind.chosen_weights: "--all-weights --delete",
}
"""Kind → options that remove it."""
NAMED = 8
"""Trials that a warning names."""


def chosen_kinds(*, stages: bool, weights: bool, all_weights: bool) -> set[Kind]:
    """Kinds that these options select; tables and leftovers always."""
    kinds = {Kind.tables, Kind.leftovers}
    kinds |= {Kind.old_stages, Kind.unused_stages} if stages else set()
    kinds |= {Kind.weights} if weights or all_weights else set()
    return kinds | ({Kind.chosen_weights} if all_weights else set())


def print_unneeded(found: Sequence[Unneeded], chosen: Collection[Kind], console: Console) -> None:
    """Print what exists, which options remove it, and what would be lost; nothing is removed."""
    columns = [
        Column("what", [one.kind.value for one in found], 0),
        Column("number", [str(len(one.paths)) for one in found], 0, right=True),
        Column("size", [describe_size(one.size) for one in found], 0, right=True),
        Column("removed by", [OPTIONS[one.kind] for one in found], 1),
    ]
    print_sheet(Sheet("Nothing was removed. In the storage are:", columns), console)
    selected = [one for one in found if one.kind in chosen]
    _print_loss(selected, console)
    size = describe_size(sum(one.size for one in selected))
    console.print(f"these options and --delete would free {size}", soft_wrap=False)


def print_removed(removed: Sequence[Unneeded], console: Console) -> None:
    """Print what was removed."""
    for one in removed:
        console.print(f"removed {one.kind.value}: {len(one.paths)}, {describe_size(one.size)}")
    console.print(f"freed {describe_size(sum(one.size for one in removed))}")
    _print_loss(removed, console, "can")


def _print_loss(found: Sequence[Unneeded], console: Console, verb: str = "could") -> None:
    trials = list(chain.from_iterable(one.trials for one in found))
    if trials:
        names = ", ".join(key[:8] for key in trials[:NAMED])
        more = f" and {len(trials) - NAMED} more" if len(trials) > NAMED else ""
        console.print(
            f"{len(trials)} trials {verb} then no longer be exported or measured again without training: {names}{more}",
            soft_wrap=False,
        )
