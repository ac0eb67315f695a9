"""How much the members of each construction differ, and what that buys."""

from analysis.constructions import by_construction
from analysis.queries import Tables
from analysis.sheet import Column, Sheet

TITLE = "Diversity"
WHAT = (
    "How much members differ in what they predict: images on which two of them disagree, the same over the ensemble's "
    "error (Fort 2019), mutual information of label and member, KL over ordered pairs, correlation of errors, and the "
    "Jensen gap (mean member NLL − ensemble NLL), which is what the difference buys. Mean ± half of the 95 % t "
    "interval over seeds. No direction is better in itself."
)
NEEDS = "python launch.py sweep {sweep}"

METRICS = [
    Column("disagreement", "disagreement (%)", r"disagreement (\%)"),
    Column("normalised_disagreement", "… / error", r"\ldots{} / error"),
    Column("mutual_information", "mutual information (nats)", "mutual information (nats)", digits=3),
    Column("kl_pairs", "KL (nats)", "KL (nats)", digits=3),
    Column("error_correlation", "error correlation", "error correlation"),
    Column("jensen_gap", "Jensen gap (nats)", "Jensen gap (nats)", digits=3),
]


def build(tables: Tables) -> Sheet:
    """One block a (dataset, model), the deep ensemble first as the reference."""
    return by_construction(tables, METRICS)
