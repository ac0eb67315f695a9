"""State the deep-ensemble equivalent of each construction."""

from collections.abc import Sequence

from analysis.answers.worth import worth_cell
from analysis.published.questions.case_tables import case_table, chosen_rows, place_column, rivals, text_column
from analysis.published.sweeps import Sweep, list_cases

TITLE = "How many deep members is each construction worth?"
NEEDS = "a sweep with `deep` ensembles of two members or more, and another construction of the same recipe"

NOTE = (
    "Number of deep members with the same calibrated log-likelihood (DEE), with its 95 % interval over seeds and "
    "images; over the images alone for one seed. An end beyond the curve of the deep ensemble is unknown: > K or < 1. "
    "Permuted ensembles compute what deep ones do, and are left out."
)


def answer(sweeps: Sequence[Sweep]) -> list[str]:
    """State the deep-ensemble equivalent of each construction, with its interval."""
    rows = [(case, one) for case, one in chosen_rows(list_cases(sweeps), rivals) if worth_cell(case.tables, one)]
    entries = [
        place_column(),
        text_column("members", lambda _, one: str(one.hyperparameters.get("members", "–"))),
        text_column("worth (deep members)", lambda case, one: worth_cell(case.tables, one)),
    ]
    return [case_table(rows, entries, NOTE)] if rows else []
