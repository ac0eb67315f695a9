"""Run or continue a sweep: stages, references, search, fresh seeds."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from basin.data.description import Description
from basin.environment import Place
from basin.errors import UsageError
from basin.system_errors import storage_errors_reported
from basin.trial import describe_data, identify_data, open_data
from sweeps.events import Listener
from sweeps.execution.launch_precision import decide_at_launch, resolve_precision, warn_of_emulation
from sweeps.execution.options import Options
from sweeps.execution.remeasuring import match_manifest
from sweeps.execution.signals import last_words, stoppable
from sweeps.execution.stages import Stage, plan_stages, train_stages
from sweeps.queries.configurations import write_configurations
from sweeps.queries.verdicts import write_verdicts
from sweeps.search.replicates import FreshSeeds, missing_jobs
from sweeps.status import Display, StatusKeeper
from sweeps.storage.compact import compact_path
from sweeps.storage.identity import note_reruns
from sweeps.storage.integrity import remove_damaged_rows, remove_leftovers, restore_files
from sweeps.storage.journal_parts import JournalUploader, download_journal
from sweeps.storage.lock import leased_sweep, locked_folder
from sweeps.storage.object_store import Mirror
from sweeps.storage.store import Store, open_store
from sweeps.study.manifest import (
    DATA,
    PROBE,
    check_comparable,
    check_imported,
    record_part,
    record_plugins,
    record_varied,
)
from sweeps.study.study import Study
from sweeps.tracking.ownership import OwnerError, check_database
from sweeps.tracking.system_metrics import check_available
from sweeps.tracking.tracker import find_lost, is_tracked, write_tracked
from sweeps.tracking.uploader import Uploader, UploadingListener
from sweeps.tracking.uri import OutageError, default_uri

if TYPE_CHECKING:
    from sweeps.execution.tuner import Pool


@dataclass(frozen=True)
class Report:
    """Result of a launch."""

    store: Store
    ran: int
    """Number of trials finished by this launch."""
    errors: list[str]
    """First line of each failed trial's error."""
    untracked: UsageError | None
    """Reason why MLflow lacks trials; None if it has all."""


def sweep(study: Study, options: Options, display: Display) -> Report:
    """Run what is left of a study, and show its status; raises UsageError for errors that the user can fix."""
    store = Store((options.storage / options.name).resolve())
    place = options.make_place()
    study = replace(study, base=identify_data(study.base, place))
    data = describe_data(study.base, place)
    if options.system_metrics:
        check_available()
    uri = options.tracking_uri or default_uri(options.storage)
    _check_warm_start(study, options, store)
    uploader = Uploader(uri, store, adopt=options.adopt, system_metrics=options.system_metrics)
    keeper = StatusKeeper(study, store.folder, place.remote, display)
    with (
        stoppable(),
        storage_errors_reported(store.folder),
        _claimed_folder(store, study, options, data, keeper.note) as (study, notes),
        _cleaned_up(partial(remove_leftovers, store, place.runs)),  # checkpoints stay
        keeper as listener,
        _cleaned_up(uploader.stop),  # so that MLflow shows nothing as running
    ):
        if not options.adopt:
            _check_owner(store, uri)
        _repair_rows(store, place, options, listener)
        before = store.keys()
        for note in notes:
            listener.note(note)
        listener.recall(store.rows())
        if options.tracking_uri:
            _check_tracking(uploader, listener)  # an invalid store is an error before anything is trained
        noted = UploadingListener(listener, uploader)
        errors = _run_jobs(study, options, store, place, noted, uploader, data)
        JournalUploader(place.remote, store.journal).send()
        write_verdicts(study, store, place, listener)
        write_configurations(store)
        if compact_path(store.folder).exists():
            place.remote.send(compact_path(store.folder))
        untracked = None
        if options.adopt or not uploader.live.is_empty or not is_tracked(store, uri):
            listener.phase("tracking", 1)
            untracked = uploader.finish()
            listener.advance()
        if untracked is None:
            write_tracked(store, uri)
    if not any(row and row["status"] == "done" for row in map(store.row, store.keys())):
        raise UsageError("no trial finished: " + (errors[0] if errors else _explain_no_result(store)))
    return Report(store, len(store.keys()) - len(before), errors, untracked)


def _check_warm_start(study: Study, options: Options, store: Store) -> None:
    """Fetch the sweeps that initialise the sampler; raises UsageError for one that cannot."""
    for source in options.warm_start:
        if options.mirror:
            options.mirror.fetch(options.storage / source / "sweep.json", anew=True)
            options.mirror.pull_folder(options.storage / source / "tables")
        if open_store(options.storage, source).folder.resolve() == store.folder:
            raise UsageError(f"--warm-start {source}: expected a sweep other than the one to run")
        check_comparable(options.storage / source, study, options.seed)


def _repair_rows(store: Store, place: Place, options: Options, listener: Listener) -> None:
    """Remove leftovers, and the rows of trials with damaged files, which are run again."""
    remove_leftovers(store, place.runs)
    place.remote.send(*note_reruns(store, find_lost(store)))
    if options.mirror:
        restore_files(store, options.mirror)
    if damaged := remove_damaged_rows(store):
        place.remote.send(*(path for path in [store.folder / "reruns.json"] if path.exists()))
        for key in damaged:
            place.remote.remove(store.table_path("trials", key))
        listener.note(f"{len(damaged)} trials have damaged files and will be rerun: {', '.join(damaged)}")


def _explain_no_result(store: Store) -> str:
    count = len(store.keys())
    if not count:
        return "the study has no trials"
    return (
        f"all {count} trials diverged (the training loss, weights or scores were not finite): "
        "lower the learning rate with --set lr=… and choose a new --name"
    )


def _run_jobs(
    study: Study,
    options: Options,
    store: Store,
    place: Place,
    listener: Listener,
    uploader: Uploader,
    data: Description,
) -> list[str]:
    from sweeps.search.feedback import warm_start
    from sweeps.search.journal import open_study
    from sweeps.search.searcher import RETURNS, ResumableSearch

    for source in options.warm_start:
        opened = open_study(store.journal, study, options.seed)
        if not warm_start(opened, study, Store(store.folder.parent / source)):
            listener.note(f"--warm-start {source}: none of its finished trials lies in the space of this search")
    owed = missing_jobs(store, study.owed_jobs(study.reported_seeds(options.seed)))
    fresh = FreshSeeds(study, store, options.seed, listener)
    search = ResumableSearch(study, store, owed, trials=study.trials, seed=options.seed, final_jobs=fresh)
    if not search.left and not fresh.missing():
        return []
    from sweeps.execution.tuner import Pool

    images = len(open_data(study.base, place).train)
    stages: list[Stage] = plan_stages(study, options.seed, images, owed)
    if options.mirror is None:  # else this machine does not know what the storage has
        stages = [stage for stage in stages if stage.missing_passes(place, images)]
    with last_words(), Pool(study, store, place, options, listener) as pool:
        uploader.start()
        most = search.left + fresh.most
        listener.note(data.summary())
        if warning := warn_of_emulation(study.base, place, options):
            listener.note(warning)
        listener.note(_describe_launch(study, options, store, stages, most, pool))
        listener.phase("stages", len(stages))
        train_stages(
            stages, place, cpus=options.cpus_per_trial, gpus=options.gpus_per_trial, done=lambda: listener.advance()
        )
        listener.phase("search", search.left, fresh.most)
        pool.fit(search, most * (1 + RETURNS))
        return pool.errors


def _describe_launch(study: Study, options: Options, store: Store, stages: list[Stage], most: int, pool: "Pool") -> str:
    """Describe the work of a launch, its parallelism, and its duration as far as earlier trials show it."""
    from sweeps.execution.plan import estimated_seconds, known_throughput, plan_sweep, remaining_work

    finished = len(store.keys())
    work = f"{len(stages)} stages and up to {most} trials"
    words = f"sweep {store.name}: {work} to run, {finished} trials finished, {pool.concurrency} at once"
    if not any(options.storage.glob("*/tables/trials/*")):
        return f"{words}; no trial has finished in this storage, so the duration is unknown"
    planned = plan_sweep(study, options, stages)
    training, roles = remaining_work(planned)
    known = known_throughput(planned, options, given=None, probing=False)
    estimates = estimated_seconds([*training, *chain.from_iterable(roles.values())], known)
    parts = [f"{seconds / 60 / pool.concurrency:.2g} minutes on {device}" for device, seconds in estimates.items()]
    return f"{words}; about {' or '.join(parts)}" if parts else f"{words}; the duration of such trials is unknown"


def _download_sweep(mirror: Mirror, store: Store) -> str | None:
    """Download the files that a launcher needs; remove checkpoints of finished trials from the store.

    Returns what is wrong with the searcher's journal; None if nothing is.
    """
    for name in ("sweep.json", "verdicts.json", "reruns.json"):
        mirror.fetch(store.folder / name, anew=True)
    damage = download_journal(mirror, store.journal)
    mirror.fetch(compact_path(store.folder))  # that of this machine, if there is one, holds more rows
    mirror.prune_folder(store.folder / "tables")
    for part in ("tables", "earlier"):
        mirror.pull_folder(store.folder / part)
    finished = set(store.keys())
    for path in mirror.list_files(store.folder / "scratch"):
        if path.parent.name in finished:
            mirror.remove(path)
    return damage


@contextmanager
def _claimed_folder(
    store: Store, study: Study, options: Options, data: Description, announce: Callable[[str], None]
) -> Iterator[tuple[Study, list[str]]]:
    """Lock the sweep's folder for one launcher and one study; remove a new folder if the launch is refused.

    Yields the study with its precision resolved, and what the user should know: a damaged journal, what precision=auto
    became, and plugins whose code has changed.
    """
    created = [folder for folder in (store.folder, *store.folder.parents) if not folder.exists()]
    with locked_folder(store), leased_sweep(options.mirror, store):
        damage = _download_sweep(options.mirror, store) if options.mirror else None
        existed = (store.folder / "sweep.json").exists()
        try:
            check_imported(store)
            place = options.make_place()
            study, decision = resolve_precision(
                study, store, lambda trial: decide_at_launch(trial, place, options, announce)
            )
            match_manifest(store, study, options.seed, options.mirror)
            record_part(store, DATA, data.facts() | options.data_sources())
            record_varied(store, study, options.seed)
            notes = [damage] if damage else []
            if decision:
                record_part(store, PROBE, decision.facts())
                notes.append(f"precision=auto became {decision}")
            notes += record_plugins(store)
            if options.mirror:
                options.mirror.send(store.folder / "sweep.json")
            yield study, notes
        except UsageError:
            if options.mirror and not existed and not store.keys():
                options.mirror.remove(store.folder)
            if store.folder in created and not store.keys():
                shutil.rmtree(store.folder)
                with suppress(OSError):  # not empty: it holds other sweeps
                    for folder in created[1:]:
                        folder.rmdir()
            raise


@contextmanager
def _cleaned_up(clean_up: Callable[[], None]) -> Iterator[None]:
    """Clean up what a launch leaves that is stopped or refused."""
    try:
        yield
    except BaseException:
        clean_up()
        raise


def _check_owner(store: Store, uri: str) -> None:
    """Raise OwnerError if the tracking store has another sweep of this name; its other errors are reported later."""
    try:
        check_database(store, uri)
    except OwnerError:
        raise
    except UsageError:
        return


def _check_tracking(uploader: Uploader, listener: Listener) -> None:
    """Raise UsageError for an invalid tracking store; an outage is announced and does not stop the sweep."""
    try:
        uploader.wait_until_open()
    except OutageError as error:
        listener.note(f"{error}; trials continue and are logged once it answers")
