"""Write `verdicts.json` when a sweep ends: verdicts and scores of each reported configuration over all its seeds."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from basin.connectivity.batchnorm import HEADLINE
from basin.environment import Place
from basin.files import read_object, write_atomically
from basin.strict_json import dump_json
from basin.trial import open_data
from stats.verdicts import bounds, decide, loss_margin
from sweeps.events import Listener
from sweeps.queries.scores import estimate_scores
from sweeps.search.selection import choose_configurations
from sweeps.storage.outcomes import shortfalls
from sweeps.storage.roles import REPORTED
from sweeps.storage.store import Row, Store
from sweeps.study.study import Study

Entry = dict[str, Any]
MEASURES: dict[str, tuple[Literal["accuracy", "nll"], Literal["path", "hull"]]] = {
    "accuracy": ("accuracy", "path"),
    "loss": ("nll", "path"),
    "hull": ("accuracy", "hull"),
}
"""Name of a verdict → the score it compares, and the networks it is about."""
SPLITS = ("val", "test")
SCORES = ("accuracy", "member_mean_accuracy", "nll", "soup_accuracy", "soup_nll", f"q_bar_{HEADLINE}")
"""Metrics that are means over images, reported with intervals over seeds and images."""
VERSION = 2
"""Version of the entries; entries of other versions are recomputed."""


def write_verdicts(study: Study, store: Store, place: Place, listener: Listener | None = None) -> bool:
    """Write verdicts and scores of the reported configurations to `verdicts.json`; return whether any changed.

    An entry is named by the keys of its trials, and recomputed only if they have changed.
    """
    file, rows = store.folder / "verdicts.json", store.rows()
    before = read_object(store.folder / "verdicts.json")
    groups = _reported_groups(rows)
    trials = {",".join(sorted(row["key"] for row in done)): done for done, _ in groups}
    now = {keys: _make_entry(study, done, lost) for keys, (done, lost) in zip(trials, groups, strict=True)}
    stale = [keys for keys, entry in now.items() if not _is_current(entry, before.get(keys))]
    if stale and listener:
        listener.phase("verdicts", len(stale))
    if stale:
        margins = {"accuracy": study.margin, "hull": study.margin}
        margins["loss"] = loss_margin(open_data(study.base, place).classes)
    for keys in stale:
        now[keys] |= _decide_entry(store, now[keys], margins, trials[keys])
        if listener:
            listener.advance()
    chosen = {study.configuration_hash(candidate.point) for candidate in choose_configurations(study, rows)}
    for keys, entry in now.items():
        entry |= {name: before[keys][name] for name in (*SPLITS, "scores") if keys not in stale}
        entry["chosen"] = entry["role"] != "fresh" or entry["configuration"] in chosen
    if now == before:
        return False
    write_atomically(file, dump_json(now, indent=1))
    place.remote.send(file)
    return True


def joint_verdict(
    tables: Sequence[pa.Table], seeds: Sequence[int], split: str, measure: str, margin: float
) -> Entry | None:
    """Decide over all seeds from their `outcomes`; None if they differ in images or pairs.

    `margin` is in accuracy points, or in nats for the measure `loss`.
    """
    by, kind = MEASURES[measure]
    try:
        by_seed = [shortfalls(table, split, by, kind) for table in tables]
    except ValueError:  # a single network, or losses that were not stored
        return None
    if len({one.values.shape for one in by_seed}) != 1 or not by_seed[0].values.size:
        return None
    limits = bounds(np.stack([one.values for one in by_seed]), worst=100.0 if by == "accuracy" else None)
    verdict = decide(limits, margin)
    seed, pair, alpha = limits.weakest
    return {
        "answer": verdict.answer,
        "upper": limits.upper,
        "lower": limits.lower,
        "margin": margin,
        "needed": verdict.needed,
        "images": limits.images,
        "weakest": {
            "seed": seeds[seed],
            **_name_network(kind, by_seed[seed].pairs[pair], by_seed[seed].alphas[alpha]),
            "mean": limits.weakest_mean,
            "low": limits.weakest_low,
            "high": limits.weakest_high,
        },
    }


def _name_network(kind: str, pair: tuple[int, int], alpha: float) -> Entry:
    """Name a network by its members and α on a path; in the hull by "centroid", or the point's index from 1."""
    if kind == "hull":
        return {"point": pair[1] if alpha else "centroid"}
    return {"pair": list(pair), "alpha": alpha}


def _reported_groups(rows: Sequence[Row]) -> list[tuple[list[Row], int]]:
    """Finished trials of each reported configuration, sorted by seed, and the number of diverged ones."""
    by_configuration: dict[str, list[Row]] = {}
    for row in rows:
        if row["role"] in REPORTED and row.get("configuration"):
            by_configuration.setdefault(row["configuration"], []).append(row)
    groups = []
    for trials in by_configuration.values():
        done = sorted((row for row in trials if row["status"] == "done"), key=lambda row: int(row["seed"]))
        if done:
            groups.append((done, sum(row["status"] == "diverged" for row in trials)))
    return groups


def _make_entry(study: Study, done: Sequence[Row], lost: int) -> Entry:
    roles = {row["role"] for row in done}
    return {
        "keys": sorted(row["key"] for row in done),
        "version": VERSION,
        "trials": [row["key"] for row in done],
        "seeds": [row["seed"] for row in done],
        "configuration": done[0]["configuration"],
        "construction": done[0]["construction"],
        "role": next(role for role in REPORTED if role in roles),
        "lost": lost,
        "margin": study.margin,
        "finished": str(max(row["finished_at"] for row in done)),
    }


def _is_current(entry: Entry, before: Entry | None) -> bool:
    return before is not None and all(before.get(name) == value for name, value in entry.items())


def _decide_entry(store: Store, entry: Entry, margins: dict[str, float], rows: Sequence[Row]) -> Entry:
    tables = [table for key in entry["trials"] if (table := _load_outcomes(store, key)) is not None]
    if len(tables) < len(entry["trials"]):
        return dict.fromkeys((*SPLITS, "scores"))
    decided: Entry = {"scores": {}}
    for split in SPLITS:
        verdicts = {name: joint_verdict(tables, entry["seeds"], split, name, margins[name]) for name in MEASURES}
        decided[split] = {name: verdict for name, verdict in verdicts.items() if verdict}
        decided["scores"][split] = {
            name: {"mean": score.mean, "half": score.half, "seeds": score.n, "images": score.images}
            for name, score in estimate_scores(rows, tables, split, SCORES).items()
        }
    return {**{split: decided[split] for split in SPLITS}, "scores": decided["scores"]}


def _load_outcomes(store: Store, key: str) -> pa.Table | None:
    """Load the outcomes of a trial; None if an older version ran it."""
    try:
        return store.table("outcomes", key)
    except (OSError, pa.ArrowException):
        return None
