"""The manifest of a sweep (`sweep.json`): the study that its folder holds, so that no folder mixes two."""

import json
from collections.abc import Iterable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from basin.constructions import constructions
from basin.errors import UsageError
from basin.files import read_object, write_atomically
from basin.keys import FORMAT, class_version, hash_contents
from basin.measure import Evaluation
from basin.plugins import imported_plugins
from basin.spec import Field, describe_fields
from basin.trial import REGISTRIES, SECTIONS, Trial
from sweeps.storage.columns import KEPT
from sweeps.storage.identity import NAME, new_identity, read_identity
from sweeps.storage.store import Store
from sweeps.study.study import Study

Entries = dict[str, str]
"""Setting → value as canonical text."""

LATER: dict[str, Any] = {"search": {}}
"""Defaults of settings that older manifests do not contain."""
DATA = "data"
"""Part of the manifest that describes the dataset, whose hash is among the settings."""
PLUGINS = "plugins"
"""Part of the manifest with the plugins of the last launch: name → version and hash of the sources."""
VARIED = "varied"
"""Part of the manifest with the fields in which the grid or the references of one construction differ."""
PROBE = "probe"
"""Part of the manifest that says why precision=auto became what it is."""
UNCOMPARED = (DATA, PLUGINS, VARIED, PROBE)
"""Parts that describe the last launch, and are not compared with the next."""
CODE = {"defaults": "default of", "ranges": "search range of", "versions": "version of"}
"""Part of the manifest that comes from the code → how messages name an entry of it."""


def update_manifest(store: Store, study: Study, seed: int) -> int | None:
    """Write the manifest of a study, or extend it; raises UsageError if the folder holds another study.

    A field that is newer than the manifest has the value it was introduced with. Grid, references, seeds and search may
    grow; none of their trials may disappear.

    If the version of the evaluation was raised and nothing else differs, nothing is written and the version that
    measured the rows is returned: the caller sets them aside first.
    """
    file, now = store.folder / "sweep.json", define_study(study, seed)
    if not file.exists():
        write_manifest(store, study, seed)
        return None
    known = _read_manifest(store)
    before = _as_texts(_introduced_values(study.base) | LATER) | _settings(known)
    for name, value in _settings(now).items():
        if before.get(name) != value and not (name == "seeds" and study.seeds > known.get(name, study.seeds)):
            raise UsageError(
                f"sweep {store.name!r} has {name}={before.get(name)}, got {name}={value}: "
                "give the same settings to continue, or another --name"
            )
    _check_code(store, {**known, "defaults": _introduced_defaults(study) | known["defaults"]}, now)
    missing = set(known.get("owed", ())) - set(now["owed"])
    if missing:
        raise UsageError(
            f"sweep {store.name!r} has {len(missing)} grid or reference trials that this study does not contain: "
            "give the same study and settings to continue, or another --name"
        )
    measured = known["versions"]["evaluation"]
    if measured < now["versions"]["evaluation"]:
        return int(measured)
    compared = {name: value for name, value in known.items() if name not in (NAME, *UNCOMPARED)}
    if compared != now or not known.get(NAME):
        write_manifest(store, study, seed)
    return None


def record_varied(store: Store, study: Study, seed: int) -> None:
    """Write into the manifest which fields tell grid and reference trials apart; nothing is compared with them."""
    values: dict[tuple[str, str], set[Any]] = {}
    for job in study.owed_jobs(study.reported_seeds(seed)):
        settings = job.trial.flat()
        for name in settings.keys() - {"seed", *KEPT}:
            values.setdefault((str(settings["construction"]), name), set()).add(settings[name])
    record_part(store, VARIED, sorted({name for (_, name), seen in values.items() if len(seen) > 1}))


def record_part(store: Store, part: str, content: Any) -> None:
    """Write a part of the manifest with which nothing is compared."""
    known = _read_manifest(store)
    if known.get(part) != content:
        write_atomically(store.folder / "sweep.json", json.dumps({**known, part: content}, indent=1, allow_nan=False))


def recorded_precision(store: Store) -> dict[str, str]:
    """Return the precisions of a sweep's base trial, of training and of paths; empty before its first launch."""
    base = read_object(store.folder / "sweep.json", "base")
    return {name: str(base[name]) for name in ("precision", "path_precision") if name in base}


def check_imported(store: Store) -> None:
    """Raise UsageError if a plugin of the sweep is not imported: its columns would be missing."""
    missing = _recorded_plugins(store).keys() - {plugin.name for plugin in imported_plugins()}
    if missing:
        name = min(missing)
        raise UsageError(
            f"sweep {store.name!r} was run with plugin {name}: give --import {name}, or the path of its file"
        )


def record_plugins(store: Store) -> list[str]:
    """Write the plugins of this launch into the manifest; return a line for each whose code has changed."""
    now = {plugin.name: {"version": plugin.version, "sources": plugin.sources} for plugin in imported_plugins()}
    before = _recorded_plugins(store)
    if now != before:
        record_part(store, PLUGINS, now)
    return [
        f"plugin {name} has changed since the last launch (sources {before[name]['sources']} → {facts['sources']}): "
        "if the same values now mean something else, raise `version` of its class and choose another --name"
        for name, facts in now.items()
        if name in before and before[name] != facts
    ]


def _recorded_plugins(store: Store) -> dict[str, dict[str, str]]:
    return read_object(store.folder / "sweep.json", PLUGINS)


def write_manifest(store: Store, study: Study, seed: int) -> None:
    """Write the manifest of a study into the sweep's folder; the sweep keeps its identity."""
    assert not study.auto_precision, "the launch resolves precision=auto first"
    manifest = define_study(study, seed) | {NAME: read_identity(store) or new_identity()}
    known = read_object(store.folder / "sweep.json")
    manifest |= {part: known[part] for part in (PLUGINS, PROBE) if known.get(part)}
    write_atomically(store.folder / "sweep.json", json.dumps(manifest, indent=1, allow_nan=False))


def check_comparable(folder: Path, study: Study, seed: int) -> None:
    """Raise UsageError for a sweep made by code in which the same values meant something else."""
    store = Store(folder)
    if not (folder / "sweep.json").exists():
        raise UsageError(f"sweep {store.name!r} has no sweep.json with its settings: name another sweep")
    _check_versions(store, _read_manifest(store)["versions"], define_study(study, seed)["versions"])


def needs_remeasuring(store: Store) -> bool:
    """Tell whether an earlier version of the evaluation measured the rows of a sweep."""
    try:
        known = _read_manifest(store)
    except UsageError:
        return False
    return bool(known["versions"]["evaluation"] < Evaluation.version)


def define_study(study: Study, seed: int) -> dict[str, Any]:
    """Return everything in which all launches of a sweep must agree."""
    owed = [job.trial for job in study.owed_jobs(study.reported_seeds(seed))]
    searched = study.space.constructions
    return {
        "format": FORMAT,
        "base": study.base.flat(),
        "constructions": list(searched),
        "searched": list(study.space.searched),
        "fixed": dict(study.space.fixed),
        "search": _stated_domains(study),
        "objectives": list(study.objectives),
        "margin": study.margin,
        "sampler": study.sampler,
        "replicates": study.replicates,
        "constraints": [str(limit) for limit in study.constraints],
        "scheduler": study.scheduler,
        "seed": seed,
        "seeds": study.seeds,
        "defaults": _field_defaults(study),
        "ranges": _search_ranges(study),
        "versions": _class_versions([study.base, *owed])
        | {name: class_version(constructions.entry(name)[0]) for name in searched},
        "owed": sorted({_versionless_key(trial) for trial in owed}),
    }


def _stated_domains(study: Study) -> dict[str, Any]:
    """Ranges and choices that the user stated for searched fields."""
    space = study.space
    return {name: domain.value for name, domain in sorted(space.domains.items()) if name not in space.fixed}


def _search_ranges(study: Study) -> dict[str, list[Any]]:
    ranges = {}
    for name in study.space.constructions:
        for field in study.space.fields(name):
            ranges[f"{name}.{field.name}"] = _search_range(field)
    return ranges


def _search_range(field: Field) -> list[Any]:
    """Choices of a field, or both ends of its range and whether it is logarithmic."""
    return list(field.choices) if field.search is None else [field.search.low, field.search.high, field.search.log]


def _field_defaults(study: Study) -> dict[str, Any]:
    """Defaults of the searched constructions, except fields that the user has set."""
    return {name: field.default for name, field in _free_fields(study).items() if not field.fixed}


def _class_versions(trials: Iterable[Trial]) -> dict[str, int]:
    """Version of each section; datasets, models and constructions under their own names."""
    versions: dict[str, int] = {}
    for trial in trials:
        for section in SECTIONS:
            instance = getattr(trial, section)
            name = REGISTRIES[section].name(instance) if section in REGISTRIES else section
            versions[name] = class_version(type(instance))
    return versions


def _versionless_key(trial: Trial) -> str:
    """Key of a trial without the version of its evaluation: raising it makes no other trial."""
    return hash_contents({name: value for name, value in trial.contents.items() if name != "evaluation.version"})


def _read_manifest(store: Store) -> dict[str, Any]:
    """Read the manifest; raises UsageError for a damaged file and for another format."""
    file = store.folder / "sweep.json"
    try:
        known = dict(json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        raise UsageError(
            f"{file}: expected JSON, found a damaged file; delete it and give the same study and settings as before"
        ) from None
    made = known.get("format", 1)
    if made != FORMAT:
        when = "an earlier" if made < FORMAT else "a later"
        raise UsageError(
            f"sweep {store.name!r} was made by {when} version with other trial keys: it can be read and "
            "reported but not continued; give another --name"
        )
    return known


def _check_code(store: Store, known: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raise UsageError if defaults, ranges or versions of the code have changed; the evaluation may be raised."""
    for part in ("defaults", "ranges"):
        old, new = known[part], now[part]
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name) or (name in old) != (name in new):
                raise _changed_code(store, part, name, old, new)
    old, new = known["versions"], now["versions"]
    raised = old["evaluation"] < new["evaluation"]
    _check_versions(store, old, {**new, "evaluation": old["evaluation"]} if raised else new)


def _check_versions(store: Store, old: Mapping[str, int], new: Mapping[str, int]) -> None:
    for name in sorted(old.keys() & new.keys()):  # a grid that grows may bring others
        if old[name] != new[name]:
            raise _changed_code(store, "versions", name, old, new)


def _changed_code(store: Store, part: str, name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> UsageError:
    before, now = (_as_text(values[name]) if name in values else "nothing" for values in (old, new))
    return UsageError(
        f"sweep {store.name!r} was made by other code: the {CODE[part]} {name} was {before} and is {now} now, "
        "so new results would not be comparable; give another --name"
    )


def _settings(manifest: Mapping[str, Any]) -> Entries:
    apart = ("base", "owed", "format", NAME, *UNCOMPARED, *CODE)
    return _as_texts(
        {**manifest.get("base", {}), **{name: value for name, value in manifest.items() if name not in apart}}
    )


def _as_texts(values: Mapping[str, Any]) -> Entries:
    return {name: _as_text(value) for name, value in values.items()}


def _as_text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _introduced_values(base: Trial) -> dict[str, Any]:
    """Values that acted before later fields existed."""
    fields = chain.from_iterable(describe_fields(type(getattr(base, section))) for section in SECTIONS)
    return {field.name: field.parse(field.since.value) for field in fields if field.since}


def _introduced_defaults(study: Study) -> dict[str, Any]:
    """The same for the searched constructions, except fields that the user has set."""
    free = _free_fields(study)
    return {name: field.parse(field.since.value) for name, field in free.items() if field.since}


def _free_fields(study: Study) -> dict[str, Field]:
    """Fields of the searched constructions that the user has not set, as `construction.field`."""
    fields = {}
    for name in study.space.constructions:
        for field in describe_fields(constructions.entry(name)[0]):
            if field.name not in study.space.fixed:
                fields[f"{name}.{field.name}"] = field
    return fields
