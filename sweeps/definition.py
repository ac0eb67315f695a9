"""What a sweep is, kept beside its results, so that no folder ever holds two studies."""

import json
from typing import Any

from basin.errors import UsageError
from basin.files import write_atomically
from basin.spec import describe
from basin.trial import SECTIONS, Trial
from sweeps.store import Store
from sweeps.study import Study

Entries = dict[str, str]
"""What was settled, by name, as canonical text."""

LATER: dict[str, Any] = {"replicates": 1, "constraints": [], "scheduler": None}
"""What sweeps have learned since the first of them, at its default."""


def hold(store: Store, study: Study, seed: int) -> None:
    """Write the study's definition into the sweep's folder; raises UsageError if another study is there.

    A field that the file does not have yet is at its default: it is newer than the sweep. Grid and references may
    grow, as a search may, but none of their trials may be missing from the study.
    """
    file = store.folder / "sweep.json"
    now = definition(study, seed)
    if not file.exists():
        write_atomically(file, json.dumps(now, indent=1))
        return
    try:
        known = json.loads(file.read_text())
    except ValueError:
        raise UsageError(
            f"{file}: expected JSON, found a damaged file; delete it, and give the same study and settings as before"
        ) from None
    before = _texts(_defaults(study.base) | LATER) | _entries(known)
    for name, value in _entries(now).items():
        if before.get(name) != value:
            raise UsageError(
                f"sweep {store.name!r} has {name}={before.get(name)}, got {name}={value}: "
                "give the same settings to go on, or another --name"
            )
    gone = set(known.get("owed", ())) - set(now["owed"])
    if gone:
        raise UsageError(
            f"sweep {store.name!r} has {len(gone)} trials of a grid or references that this study does not name: "
            "give the same study and settings to go on, or another --name"
        )
    if known != now:
        write_atomically(file, json.dumps(now, indent=1))


def definition(study: Study, seed: int) -> dict[str, Any]:
    """All that two launches of one sweep agree in."""
    owed = study.owed(range(seed, seed + study.seeds))
    return {
        "base": study.base.flat(),
        "constructions": list(study.space.constructions),
        "searched": list(study.space.searched),
        "fixed": dict(study.space.fixed),
        "objectives": list(study.objectives),
        "sampler": study.sampler,
        "replicates": study.replicates,
        "constraints": [str(limit) for limit in study.constraints],
        "scheduler": study.scheduler,
        "seed": seed,
        "seeds": study.seeds,
        "owed": sorted({study.trial(changes).key for _, changes in owed}),
    }


def _entries(held: dict[str, Any]) -> Entries:
    apart = ("base", "owed")
    return _texts({**held.get("base", {}), **{name: value for name, value in held.items() if name not in apart}})


def _texts(values: dict[str, Any]) -> Entries:
    return {name: json.dumps(value, sort_keys=True, separators=(",", ":")) for name, value in values.items()}


def _defaults(base: Trial) -> dict[str, Any]:
    fields = [field for section in SECTIONS for field in describe(type(getattr(base, section)))]
    return {field.name: field.default for field in fields if not field.fixed} | {"ood_hash": None}
