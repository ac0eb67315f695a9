"""Campaigns: write the trials of a study for a machine without Ray, and make a sweep of what it measured there."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from basin.campaign import COPY, FORMAT, Campaign, class_versions, outcome_path, read_campaign
from basin.errors import UsageError
from basin.files import write_atomically
from basin.keys import describe_differences
from basin.outcome_file import Ended, read_ending, read_outcome
from basin.provenance import hash_sources
from basin.strict_json import dump_json
from basin.trial import describe_data, identify_data
from basin.work import plan_work
from sweeps.execution.options import Options
from sweeps.execution.remeasuring import match_manifest
from sweeps.queries.configurations import write_configurations
from sweeps.queries.verdicts import write_verdicts
from sweeps.storage.lock import locked_folder
from sweeps.storage.store import Row, Store, tables_of, tables_of_diverged
from sweeps.study.job import Job
from sweeps.study.manifest import DATA, check_imported, record_part, record_plugins, record_varied, recorded_precision
from sweeps.study.study import Study


def write_campaign(study: Study, options: Options, arguments: Mapping[str, Any], file: Path) -> int:
    """Write the references and the grid of a study as a campaign; return their number.

    `arguments` are those of the command, from which `import` makes the study again. Raises UsageError if the precision
    is not decided, if there is no such trial, and if one cannot be run.
    """
    study = _with_known_precision(study, recorded_precision(Store(options.storage / options.name)))
    study = replace(study, base=identify_data(study.base, options.make_place()))
    jobs = {job.key: job for job in study.owed_jobs(study.reported_seeds(options.seed))}
    if not jobs:
        raise UsageError("--campaign: the study has no grid and no references, whose trials a campaign runs")
    plan_work([job.trial for job in jobs.values()], options.make_place())  # trials without room for their passes
    content = {
        "format": FORMAT,
        "name": options.name,
        "sources": hash_sources(),
        "arguments": dict(arguments),
        "base": study.base.flat(),
        "trials": [
            {"key": key, "role": job.role, "settings": job.trial.flat(), "versions": class_versions(job.trial)}
            for key, job in jobs.items()
        ],
    }
    write_atomically(file, dump_json(content, indent=1) + "\n")
    return len(jobs)


def _with_known_precision(study: Study, known: Mapping[str, str]) -> Study:
    if study.auto_precision and not known:
        raise UsageError(
            "--campaign: precision=auto is decided where trials run: give --set precision=bfloat16 or float32 "
            "(bfloat16 is faster on GPUs with tensor cores)"
        )
    return study.with_precision(**known) if study.auto_precision else study


@dataclass(frozen=True)
class Imported:
    """Result of an import."""

    store: Store
    added: int
    present: int
    """Outcomes whose rows the sweep had."""
    missing: int
    """Trials of the campaign without an outcome."""
    notes: list[str]


def open_campaign(folder: Path) -> Campaign:
    """Read the campaign of a folder of outcomes; raises UsageError for any other folder."""
    if not (folder / COPY).exists():
        raise UsageError(f"{folder}: expected a folder of `python -m basin campaign`, found no {COPY} in it")
    return read_campaign(folder / COPY)


def import_campaign(study: Study, options: Options, folder: Path, campaign: Campaign) -> Imported:
    """Write the outcomes of a campaign into the sweep of its study, as if its trials had run there.

    Raises UsageError, before anything is written, if the sweep has other results of one of the trials, and if the
    study, the data or the code would make other trials.
    """
    store, place = Store((options.storage / options.name).resolve()), options.make_place()
    study = _with_known_precision(study, _precision_of(campaign))
    study = replace(study, base=identify_data(study.base, place))
    jobs = _match_jobs(study, options.seed, campaign)
    notes, ended = [], dict[str, Ended]()
    for key in campaign.trials:
        path = outcome_path(folder, key)
        ending = read_ending(path)
        if ending:
            ended[key] = ending
        elif path.exists():
            notes.append(f"{path}: damaged, not imported; copy it again, or rerun the campaign")
    if not ended:
        raise UsageError(f"{folder}: no trial of the campaign has finished: expected files in {folder / 'outcomes'}")
    notes += _describe_code(ended)
    data = describe_data(study.base, place)
    created = not store.folder.exists()
    with locked_folder(store):
        try:
            check_imported(store)
            new = [key for key in ended if not _is_present(store, jobs[key], folder)]
            match_manifest(store, study, options.seed)
        except UsageError:
            if created:
                shutil.rmtree(store.folder)
            raise
        record_part(store, DATA, data.facts() | options.data_sources())
        record_varied(store, study, options.seed)
        notes += record_plugins(store)
        for key in new:
            _write_trial(store, study, jobs[key], ended[key], folder)
        write_verdicts(study, store, place)
        write_configurations(store)
    return Imported(store, len(new), len(ended) - len(new), len(campaign.trials) - len(ended), notes)


def _precision_of(campaign: Campaign) -> dict[str, str]:
    return {name: campaign.content["base"][name] for name in ("precision", "path_precision")}


def _match_jobs(study: Study, seed: int, campaign: Campaign) -> dict[str, Job]:
    """The jobs of a study by key; raises UsageError if a trial of the campaign is not among them."""
    jobs = {job.key: job for job in study.owed_jobs(study.reported_seeds(seed))}
    if campaign.trials.keys() <= jobs.keys():
        return jobs
    now, then = study.base.flat(), campaign.content["base"]
    words = describe_differences(then, now) or "its grid, references or seeds"
    raise UsageError(
        f"campaign {campaign.name} was written for another study ({words}): undo the change of the study or of its data"
    )


def _describe_code(ended: Mapping[str, Ended]) -> list[str]:
    """Say if trials ran other code than this."""
    others = {one.facts["sources"]: one.facts["commit"] for one in ended.values()}
    others.pop(hash_sources(), None)
    return [
        f"trials ran other code (sources {sources}, commit {commit}) than this (sources {hash_sources()}); "
        "their keys are the same, and their rows name it"
        for sources, commit in others.items()
    ]


def _is_present(store: Store, job: Job, folder: Path) -> bool:
    """Tell whether the sweep has a trial's row; raises UsageError if its results are others."""
    row = store.row(job.key)
    if row is None:
        return False
    outcome = read_outcome(outcome_path(folder, job.key), job.trial)
    scores: dict[str, Any] = outcome.measured.scores if outcome else {}
    found = {"status": "done" if outcome else "diverged", **scores}
    other = next((name for name, value in found.items() if name in row and row[name] != value), None)
    if other:
        raise UsageError(
            f"sweep {store.name!r} has other results of trial {job.key} ({other}={row[other]}, in the campaign "
            f"{found[other]}): give another --name"
        )
    return True


def _write_trial(store: Store, study: Study, job: Job, ended: Ended, folder: Path) -> None:
    """Write a trial's networks, if they came along, and its tables."""
    facts: Row = {"sweep": store.name, "role": job.role, "configuration": job.configuration}
    facts |= {**ended.facts, "finished_at": ended.finished_at}
    outcome, classes = read_outcome(outcome_path(folder, job.key), job.trial), tuple[str, ...]()
    if outcome is None:
        tables = tables_of_diverged(job.trial, **facts)
    else:
        tables, classes = tables_of(outcome, **facts), outcome.inputs.class_names
        tables["trials"][0] |= study.verdict_columns(tables["trials"][0])
        _copy_networks(Store(folder).weights_path(job.trial.ensemble_key), store.weights_path(job.trial.ensemble_key))
    store.write_tables(job.key, tables, classes)


def _copy_networks(there: Path, here: Path) -> None:
    if there.exists() and not here.exists():
        write_atomically(here, there.read_bytes())
