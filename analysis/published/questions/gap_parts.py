"""Split the difference to the deep ensemble into its members and their diversity."""

from collections.abc import Sequence

from analysis.constructions import REFERENCE, facts, order
from analysis.published.questions.case_tables import BOLD, case_table, chosen_rows, deep_column
from analysis.published.sweeps import Case, Sweep, list_cases

TITLE = "Is the difference to the deep ensemble due to members or to diversity?"
NEEDS = "a sweep with `deep` and `constrained` or `distilled` ensembles of one recipe, on three seeds or more"
NOTE = (
    f"{BOLD} The NLL of an ensemble is the mean NLL of its members less the Jensen gap, which is what their diversity "
    "contributes. So the last difference is the first less the second."
)


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """State the differences of the members' mean NLL and of the Jensen gap, and that of the NLL, which they make."""
    rows = chosen_rows(list_cases(sweeps), _compared)
    entries = [
        deep_column("mean NLL of members − deep (nats)", 3, "member_mean_nll"),
        deep_column("Jensen gap − deep (nats)", 3, "jensen_gap"),
        deep_column("NLL − deep (nats)", 3, "nll"),
    ]
    return [case_table(rows, entries, NOTE)] if rows else []


def _compared(case: Case) -> list[str]:
    chosen = case.chosen.keys()
    return [name for name in order(chosen) if REFERENCE in facts(name).compared_with and REFERENCE in chosen]
