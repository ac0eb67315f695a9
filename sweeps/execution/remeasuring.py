"""Set aside rows that an earlier version of the evaluation measured, so that no reader mixes two versions.

The rows move from `tables/` to `earlier/evaluation-VERSION/tables/` and keep their keys. The trained networks stay: the
trials are measured again from them, under new keys.
"""

import shutil
from dataclasses import replace
from pathlib import Path

from basin.files import Nowhere, Remote
from basin.lookup import is_key
from basin.spec import describe_fields
from basin.trial import REGISTRIES, SECTIONS, Trial, overlay
from sweeps.storage.journal_parts import JournalUploader
from sweeps.storage.schemas import SCHEMAS
from sweeps.storage.store import SET_ASIDE, Row, Store
from sweeps.study.manifest import update_manifest, write_manifest
from sweeps.study.study import Study


def match_manifest(store: Store, study: Study, seed: int, remote: Remote | None = None) -> None:
    """Check a study against the sweep's manifest; raises UsageError if the folder holds another study.

    If only the version of the evaluation was raised, all rows are set aside and the trials measured again.
    """
    measured = update_manifest(store, study, seed)
    if measured is not None:
        set_aside(store, study, seed, measured, remote or Nowhere())
        write_manifest(store, study, seed)


def set_aside(store: Store, study: Study, seed: int, version: int, remote: Remote) -> None:
    """Move the rows that this version of the evaluation measured, and reset the searcher's journal.

    Trials without networks (diverged, or stopped early) keep their rows under their new keys. If interrupted, it can be
    repeated: moved rows stay moved.
    """
    folder, unmoved = store.folder / SET_ASIDE / f"evaluation-{version}", set()
    for row in store.rows():
        if row["status"] == "done":
            continue
        trial = trial_of_row(row, study.base)
        if trial.ensemble_key == row["ensemble_key"]:
            unmoved.add(trial.key)
            if trial.key != row["key"]:
                _rename_row(store, row, trial.key, remote)
    for table in SCHEMAS:  # the rows of `trials` last
        for path in (store.folder / "tables" / table).glob("[!.]*.parquet"):
            if is_key(path.stem) and path.stem not in unmoved:
                _move_file(path, folder / path.relative_to(store.folder), remote)
    _reset_journal(store, study, seed, remote)


def trial_of_row(row: Row, base: Trial) -> Trial:
    """Rebuild the trial of a row with current keys; fields that the row lacks are taken from `base`."""
    trial = overlay(base, {kind: row[kind] for kind in REGISTRIES})
    recorded = {}
    for section in SECTIONS:
        for field in describe_fields(type(getattr(trial, section))):
            known = row.get(field.name) is not None or (field.optional and field.name in row)
            if known and not field.fixed:
                recorded[field.name] = row[field.name]
    return replace(
        overlay(trial, {**recorded, "seed": row["seed"]}), data_hash=row["data_hash"], ood_hash=row["ood_hash"]
    )


def _rename_row(store: Store, row: Row, key: str, remote: Remote) -> None:
    """Write a row without final scores under another key, with its history."""
    history = [{**report, "key": key} for report in store.history(row["key"])]
    store.write_tables(key, {"trials": [{**row, "key": key}], "history": history})
    remote.send(*store.trial_files(key))


def _move_file(path: Path, to: Path, remote: Remote) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(path, to)
    remote.send(to)
    remote.remove(path)
    path.unlink()


def _reset_journal(store: Store, study: Study, seed: int, remote: Remote) -> None:
    """Rewrite the searcher's journal as if every configuration were still running.

    Configurations keep their numbers, for samplers that draw by number. Results are reported once measured.
    """
    import optuna  # slow, and seldom needed

    from sweeps.search.journal import open_study

    if not store.journal.exists():
        return
    before = open_study(store.journal, study, seed).get_trials(deepcopy=False)
    file = store.journal.with_name("optuna.again")
    file.unlink(missing_ok=True)
    rewritten = open_study(file, study, seed)
    for trial in before:
        if "key" not in trial.user_attrs:
            rewritten.add_trial(trial)  # a duplicate, from another sweep, or not named yet
            continue
        changes = trial.user_attrs["changes"]
        rewritten.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.RUNNING,
                params=trial.params,
                distributions=trial.distributions,
                user_attrs={"changes": changes, "key": study.resolve_trial(changes).key},
            )
        )
    file.replace(store.journal)
    JournalUploader(remote, store.journal).send()
