"""Schemas of the tables about trials and members."""

from itertools import chain

import pyarrow as pa

from basin.api.tables import POINTS, make_column
from sweeps.storage.columns import (
    KEPT,
    KEY,
    SPLITS,
    add_sections,
    connectivity_facts,
    cost_columns,
    list_hyperparameters,
    quality_facts,
    soup_facts,
    split_columns,
    text_columns,
)

PACKAGES = ("Python", "torch", "torchvision", "ray", "optuna", "mlflow", "pyarrow", "numpy")
"""Packages whose versions are recorded."""
TYPES = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: pa.string()}


def trials_schema() -> pa.Schema:
    """One row per trial."""
    described_below = {"dataset", "model", "construction", "seed", "data_hash", "ood_hash", "classes"}
    schema = pa.schema(
        [
            KEY,
            make_column("ensemble_key", pa.string(), "Key of its trained networks: a hash of all but the evaluation."),
            make_column("sweep", pa.string(), "The sweep that ran the trial."),
            make_column("role", pa.string(), "search, replicate (its other seeds), fresh (chosen), grid or reference."),
            make_column("configuration", pa.string(), "Hash of its contents without the seed: the same for all seeds."),
            make_column(
                "status", pa.string(), "done, diverged (loss, weights or scores were not finite) or stopped (early)."
            ),
            make_column(
                "feasible", pa.bool_(), "True if validation satisfies the basin constraint and the sweep's others."
            ),
            make_column("margin", pa.float64(), "Accuracy points that paths may lose in one basin.", POINTS),
            make_column(
                "verdict_val", pa.string(), "In one basin on validation, this seed alone: yes, no or undecided."
            ),
            make_column("verdict_test", pa.string(), "In one basin on test, this seed alone: yes, no or undecided."),
            *text_columns(
                dataset="Registered name of the dataset.",
                model="Registered name of the model.",
                construction="Registered name of the construction: how the ensemble was made.",
                data_hash="Hash of the decoded images and labels.",
                ood_hash="Hash of the out-of-distribution dataset; null without one.",
            ),
            make_column("seed", pa.int64(), "Seed of initialisation, data order, augmentation and constraint."),
            *(
                make_column(f.name, TYPES[f.kind], f.doc, what="fact" if f.name in KEPT else "hyperparameter")
                for f in list_hyperparameters()
                if f.name not in described_below
            ),
            *chain.from_iterable(map(_score_columns, SPLITS)),
            *split_columns("train", connectivity_facts()),
            make_column(
                "member_distance",
                pa.float64(),
                "Mean distance of two members' trained weights over the root-mean-square norm of the members. "
                "Independent networks with BatchNorm are below √2: its scales are alike, and part of the norm.",
                "norms",
            ),
            *cost_columns(),
            make_column("finished_at", pa.timestamp("us", tz="UTC"), "Time at which the trial ended."),
            make_column("classes", pa.int64(), "Classes of the dataset."),
            *text_columns(
                device="Kind of processor that trained: cpu or cuda.",
                device_name="Model of the processor or GPU.",
                host="Name of the machine on the network.",
            ),
            make_column("threads", pa.int64(), "CPU threads of the trial."),
            make_column("engine", pa.string(), "Execution mode of training: loop, threads, stacked or graphs."),
            *text_columns(
                commit="Git commit of the code.",
                dirty="True if the code had uncommitted changes, else false, or unknown.",
                sources="Hash of the code that ran the trial.",
                plugins="Plugins, each with its version and the hash of its sources; null without plugins.",
            ),
            *text_columns(**{f"{package.lower()}_version": f"Version of {package}." for package in PACKAGES}),
        ]
    )
    return add_sections(schema)


def members_schema() -> pa.Schema:
    """One row per member."""
    scores = []
    for split in SPLITS:
        scores.append(make_column(f"{split}_accuracy", pa.float64(), "Accuracy of the member.", "%"))
        scores.append(make_column(f"{split}_nll", pa.float64(), "Mean negative log-likelihood of the member.", "nats"))
    return pa.schema([KEY, make_column("member", pa.int64(), "Which member, from 0."), *scores])


def history_schema() -> pa.Schema:
    """One row per validation during training."""
    return pa.schema(
        [
            KEY,
            make_column("step", pa.int64(), "Which ensemble of its construction, from 1: an epoch, or a member."),
            make_column("passes", pa.int64(), "Passes so far.", "batches"),
            make_column("seconds", pa.float64(), "Wall time so far.", "s"),
            make_column("progress", pa.float64(), "Share of the trial's passes so far.", "1"),
            *split_columns("val", quality_facts("val", final=False)),
            make_column("val_q_mid_reset", pa.float64(), "Mean chord excess at the midpoints.", POINTS, "higher"),
            make_column(
                "val_basin_mid_upper_reset",
                pa.float64(),
                "95 % upper bound of the accuracy shortfall at the average judged midpoint.",
                POINTS,
                "lower",
            ),
        ]
    )


def _score_columns(split: str) -> list[pa.Field]:
    return split_columns(split, quality_facts(split, final=True) | soup_facts() | connectivity_facts())
