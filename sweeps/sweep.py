"""One sweep from start to end: stages, references, search, replicates; run again, it goes on where it stopped."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from basin.errors import UsageError
from basin.files import Nowhere, write_atomically
from basin.place import Place
from basin.trial import identify, open_data
from sweeps.checking import mend, room, tidy
from sweeps.database import OutageError, shown
from sweeps.definition import hold
from sweeps.lock import leased, locked
from sweeps.mirror import Mirror
from sweeps.options import Listener, Options
from sweeps.shipping import Shipper, Told
from sweeps.stages import Stage, make_all, plan
from sweeps.stopping import stoppable
from sweeps.store import Row, Store, open_store
from sweeps.study import Changes, Config, Study
from sweeps.tracking import default_uri


@dataclass(frozen=True)
class Report:
    """What a sweep did."""

    store: Store
    ran: int
    """Trials finished by this launch."""
    errors: list[str]
    """First lines of the errors of trials that failed."""
    untracked: UsageError | None
    """Why MLflow does not have all trials, if it has not."""


def sweep(study: Study, options: Options, listener: Listener) -> Report:
    """Run what is left of a study; raises UsageError for what the user can mend."""
    store = Store((options.storage / options.name).resolve())
    place = place_of(options)
    study = replace(study, base=identify(study.base, place))
    uri = options.tracking_uri or default_uri(options.storage)
    for source in options.warm_start:
        if options.mirror:
            options.mirror.pull(options.storage / source / "tables")
        if open_store(options.storage, source).folder.resolve() == store.folder:
            raise UsageError(f"--warm-start {source}: expected another sweep than this one")
    with stoppable(), room(store.folder), _claimed(store, study, options):
        tidy(store, place.runs)
        if damaged := mend(store):
            for key in damaged:
                place.remote.remove(store.path("trials", key))
            listener.note(f"{len(damaged)} trials have damaged files and are run again: {', '.join(damaged)}")
        before, shipper = store.keys(), Shipper(uri, store)
        if options.tracking_uri:
            _answers(shipper, listener)  # a store that cannot be is known before anything is trained
        errors = _run(study, options, store, place, Told(listener, shipper), shipper)
        place.remote.send(store.journal)
        untracked = None
        if not _tracked(store, uri):
            listener.phase("tracking", 1)
            untracked = shipper.finish()
            if untracked is None:
                write_atomically(store.folder / "tracked.json", json.dumps({"uri": shown(uri), "keys": store.keys()}))
            listener.advance()
    if not any(row and row["status"] == "done" for row in map(store.row, store.keys())):
        raise UsageError("no trial finished: " + (errors[0] if errors else _why_none(store)))
    return Report(store, len(store.keys()) - len(before), errors, untracked)


def _why_none(store: Store) -> str:
    count = len(store.keys())
    if not count:
        return "the study has none"
    return f"the training loss was not finite in all {count}; expected a lower lr: give --set lr=… and another --name"


def _run(study: Study, options: Options, store: Store, place: Place, listener: Listener, shipper: Shipper) -> list[str]:
    from sweeps.search import LedgerSearch, open_study
    from sweeps.telling import warm_start

    for source in options.warm_start:
        opened = open_study(store.journal, study, options.seed)
        warm_start(opened, study, Store(store.folder.parent / source))
    seeds = [options.seed + index for index in range(study.seeds)]
    missing = _missing(study, store, [{"role": role, "changes": changes} for role, changes in study.owed(seeds)])
    finally_ = Replicates(study, store, seeds, listener)
    search = LedgerSearch(study, store, missing, trials=study.trials, seed=options.seed, finally_=finally_)
    if not search.left and not finally_.owed():
        return []
    from sweeps.tuning import Pool

    stages: list[Stage] = plan(study, seeds, len(open_data(study.base, place).train))
    # Ray sets handlers of its own when it starts.
    with Pool(study, store, place, options, listener) as pool, stoppable():
        shipper.start()
        listener.phase("stages", len(stages))
        make_all(
            stages, place, cpus=options.cpus_per_trial, gpus=options.gpus_per_trial, done=lambda: listener.advance()
        )
        listener.phase("search", search.left)
        pool.fit(search, search.left + finally_.most)
        return pool.errors


@dataclass(frozen=True)
class Replicates:
    """The replicates that a sweep owes: asked for when all other trials are done."""

    study: Study
    store: Store
    seeds: list[int]
    listener: Listener | None = None

    @property
    def most(self) -> int:
        """How many there can be."""
        return len(self.study.space.constructions) * (len(self.seeds) - 1)

    def owed(self) -> list[Config]:
        """Those that are missing."""
        return _missing(self.study, self.store, replicates(self.study, self.store, self.seeds))

    def __call__(self) -> list[Config]:
        """Their phase begins, if there are any."""
        owed = self.owed()
        if self.listener and owed:
            self.listener.phase("replicates", len(owed))
        return owed

    def __reduce__(self) -> tuple[Any, ...]:
        """A terminal does not travel."""
        return Replicates, (self.study, self.store, self.seeds)


def replicates(study: Study, store: Store, seeds: list[int]) -> list[Config]:
    """For each searched construction the configuration that validation chose, on the other seeds.

    Chosen is by the mean over the seeds that a configuration has: of those that satisfy the constraints, if any do,
    the best single objective; of two, the best first objective among those with q_bar of at least the study's floor,
    and if none has it, the best q_bar.
    """
    found: dict[str, list[Row]] = {}
    for row in store.rows():
        if row["role"] in ("search", "replicate") and row["status"] == "done":
            name = row["construction"]
            drawn = {field.name: row[field.name] for field in study.space.fields(name)}
            found.setdefault(study.trial({"construction": name, **drawn}).key, []).append(row)
    owed: list[Config] = []
    for construction in study.space.constructions:
        own = [
            rows
            for rows in found.values()
            if rows[0]["construction"] == construction and any(row["role"] == "search" for row in rows)
        ]
        if not own:
            continue
        best = _chosen(study, own)
        point: Changes = {
            "construction": construction,
            **{field.name: best[0][field.name] for field in study.space.fields(construction)},
        }
        there = {row["seed"] for row in best}
        owed += [{"role": "replicate", "changes": {**point, "seed": seed}} for seed in seeds if seed not in there]
    return owed


def _chosen(study: Study, configurations: list[list[Row]]) -> list[Row]:
    def mean(rows: list[Row], name: str) -> float:
        values = [row[name] for row in rows if row[name] is not None]
        return fmean(values) if values else 0.0  # a single network has no path that could dip

    allowed = [rows for rows in configurations if all(study.feasible(row) is not False for row in rows)]
    left = allowed or configurations
    if len(study.objectives) == 1:
        (name,), (sign,) = study.objectives, study.signs
        return max(left, key=lambda rows: (sign * mean(rows, name), rows[0]["key"]))
    accuracy, q_bar = study.objectives
    connected = [rows for rows in left if mean(rows, q_bar) >= study.q_bar_floor]
    if connected:
        return max(connected, key=lambda rows: (mean(rows, accuracy), mean(rows, q_bar), rows[0]["key"]))
    return max(left, key=lambda rows: (mean(rows, q_bar), rows[0]["key"]))


def _missing(study: Study, store: Store, configs: list[Config]) -> list[Config]:
    named = {study.trial(config["changes"]).key: config for config in configs}
    return [config for key, config in named.items() if store.row(key) is None]


def place_of(options: Options) -> Place:
    """The folders and the machine of the trials."""
    cache = {"cache": options.cache} if options.cache else {}
    runs = (options.storage / "runs").resolve()
    data = options.data.resolve() if options.data else None
    ood_data = options.ood_data.resolve() if options.ood_data else None
    share = min(1.0, options.gpus_per_trial) or 1.0
    remote = options.mirror or Nowhere()
    return Place(
        machine=options.machine, data=data, ood_data=ood_data, runs=runs, remote=remote, gpu_share=share, **cache
    )


def _bring(mirror: Mirror, store: Store) -> None:
    """Make what a launcher needs of a sweep what it is in the storage; drop checkpoints of finished trials there."""
    for path in (store.folder / "sweep.json", store.journal):
        mirror.fetch(path, anew=True)
    mirror.prune(store.folder / "tables")
    mirror.pull(store.folder / "tables")
    finished = set(store.keys())
    for path in mirror.files(store.folder / "scratch"):
        if path.parent.name in finished:
            mirror.remove(path)


@contextmanager
def _claimed(store: Store, study: Study, options: Options) -> Iterator[None]:
    """The sweep's folder, held by one launcher, for one definition of the study; gone again if nothing came of it."""
    made = [folder for folder in (store.folder, *store.folder.parents) if not folder.exists()]
    with locked(store), leased(options.mirror, store):
        if options.mirror:
            _bring(options.mirror, store)
        begun = (store.folder / "sweep.json").exists()
        hold(store, study, options.seed)
        if options.mirror:
            options.mirror.send(store.folder / "sweep.json")
        try:
            yield
        except UsageError:
            if options.mirror and not begun and not store.keys():
                options.mirror.remove(store.folder)
            if store.folder in made and not store.keys():
                shutil.rmtree(store.folder)
                with suppress(OSError):  # not empty: other sweeps are there
                    for folder in made[1:]:
                        folder.rmdir()
            raise


def _answers(shipper: Shipper, listener: Listener) -> None:
    """Raise UsageError for a tracking store that cannot be; say so if it is away, for that need not stop a sweep."""
    try:
        shipper.opened()
    except OutageError as error:
        listener.note(f"{error}; trials run, and are logged when it answers")


def _tracked(store: Store, uri: str) -> bool:
    """Whether MLflow has every trial already: then its slow import is spared."""
    try:
        known = json.loads((store.folder / "tracked.json").read_text())
    except (OSError, ValueError):  # torn: looked up once more
        return False
    return bool(known == {"uri": shown(uri), "keys": store.keys()})
