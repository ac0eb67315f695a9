"""Diversity of the members, by construction."""

from analysis.answers.construction_table import construction_sheet
from analysis.data.queries import Tables
from analysis.output.sheet import Column, Sheet

TITLE = "Diversity"
QUESTION = "How diverse are the members?"
WHAT = (
    "Diversity of the members' predictions: disagreement, the same over the ensemble's error (Fort 2019), mutual "
    "information of label and member, KL over ordered pairs, correlation of errors, and the Jensen gap (mean member "
    "NLL − ensemble NLL), which is the gain from diversity. Mean ± half of the 95 % t interval over seeds. None of "
    "these has a better direction."
)
NEEDS = "quickstart"

METRICS = [
    Column("disagreement", "disagreement (%)", r"disagreement (\%)"),
    Column("normalised_disagreement", "disagreement / error", "disagreement / error"),
    Column("mutual_information", "mutual information (nats)", "mutual information (nats)", digits=3),
    Column("kl_pairs", "KL (nats)", "KL (nats)", digits=3),
    Column("error_correlation", "error correlation", "error correlation"),
    Column("jensen_gap", "Jensen gap (nats)", "Jensen gap (nats)", digits=3),
]


def build(tables: Tables) -> Sheet:
    """Build one block per (dataset, model), the deep ensemble first."""
    return construction_sheet(tables, METRICS)
