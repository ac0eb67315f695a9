"""Split the difference to the deep ensemble into its members and their diversity."""

from collections.abc import Sequence

from analysis.constructions import capitalised
from analysis.published.questions.case_tables import (
    BOLD,
    SAME_STATISTICS,
    Row,
    by_construction,
    case_table,
    chosen_rows,
    count_sides,
    deep_column,
    gap_to_deep,
    place_column,
    rivals,
)
from analysis.published.sweeps import Sweep, list_cases

TITLE = "Is the difference to the deep ensemble due to members or to diversity?"
NEEDS = "a sweep with `deep` ensembles and others of one recipe, on three seeds or more"
NOTE = (
    f"{BOLD} The NLL of an ensemble is the mean NLL of its members less the Jensen gap, which is what their diversity "
    "contributes: a smaller gap is less diversity. The last difference is that of members less that of the gap "
    f"(each is rounded). {SAME_STATISTICS}"
)


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """State the differences of the members' mean NLL and of the Jensen gap, and that of the NLL, which they make."""
    rows = chosen_rows(list_cases(sweeps), rivals)
    if not rows:
        return []
    entries = [
        place_column(),
        deep_column("mean NLL of members − deep (nats)", 3, "member_mean_nll"),
        deep_column("Jensen gap − deep (nats)", 3, "jensen_gap"),
        deep_column("same statistics (nats)", 3, "jensen_gap_of_ends"),
        deep_column("NLL − deep (nats)", 3, "nll"),
    ]
    lines = [_count_words(name, mine) for name, mine in by_construction(rows).items()]
    return ["\n".join(lines), case_table(rows, entries, NOTE)]


def _count_words(name: str, rows: Sequence[Row]) -> str:
    start = f"- {capitalised(name)} vs. deep, mean NLL of members"
    members = count_sides(start, [gap_to_deep(*row, "member_mean_nll") for row in rows], "lower")
    diversity = count_sides("Jensen gap", [gap_to_deep(*row, "jensen_gap") for row in rows], "")
    alike = count_sides("same statistics", [gap_to_deep(*row, "jensen_gap_of_ends") for row in rows], "")
    return f"{members}; {diversity}; {alike}."
