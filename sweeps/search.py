"""The searcher: hands out trials that are owed, then asks Optuna for new ones, and tells it validation scores only.

Not Ray's OptunaSearch, which leaves a trial with a missing or NaN objective running for ever, and tells a stopped
trial as complete. The study lives in a journal file; what Tune keeps is disposable.
"""

import math
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState
from ray.tune.search import Searcher

from basin.files import write_atomically
from sweeps.space import IndexedSampler, sampler
from sweeps.store import Store
from sweeps.study import Study

TRIES = 100
"""Configurations drawn in a row that were there already, before the space counts as exhausted."""
TURNS = 10
"""First configurations in which the constructions take turns: as many as TPE draws before it has learned anything."""


class LedgerSearch(Searcher):
    """Owed trials first, then the rest of an Optuna study's configurations; nothing that the store has already."""

    def __init__(self, study: Study, store: Store, owed: list[dict[str, Any]], *, trials: int, seed: int) -> None:
        super().__init__()
        self._study, self._store, self._trials, self._seed = study, store, trials, seed
        self._given = owed
        self._owed = list(owed)
        self._keys = {study.trial(config["changes"]).key for config in owed}
        self._optuna = open_study(store.folder / "optuna.journal", study, seed)
        if not self._optuna.get_trials(deepcopy=False):
            self._adopt()
        self._open: dict[str, int] = {}
        self._orphans = self._reconcile()
        self._owed += self._failed()
        # Counted once, then kept up to date: looking through all trials for each new one is quadratic in the sweep.
        self._asked = self._distinct = self._repeats = 0
        for trial in self._optuna.get_trials(deepcopy=False):
            if trial.state is TrialState.WAITING:
                continue
            self._count(trial.user_attrs.get("key"), duplicate=bool(trial.user_attrs.get("duplicate")))

    def _count(self, key: str | None, *, duplicate: bool) -> None:
        """Note a configuration of the study; `_repeats` are the duplicates since the last that was none."""
        self._asked += 1
        self._distinct += not duplicate
        self._repeats = self._repeats + 1 if duplicate else 0
        if key:
            self._keys.add(key)

    @property
    def left(self) -> int:
        """Trials still to be handed out, at most."""
        exhausted = self._asked > TRIES and self._repeats >= TRIES
        fresh = 0 if exhausted else max(0, self._trials - self._distinct)
        return len(self._owed) + len(self._orphans) + fresh

    def suggest(self, trial_id: str) -> dict[str, Any] | None:
        """The next trial's configuration; FINISHED when there is none."""
        if self._owed:
            return self._owed.pop(0)
        if self._orphans:
            number = self._orphans.pop(0)
            self._open[trial_id] = number
            return {"role": "search", "changes": self._optuna.get_trials(deepcopy=False)[number].user_attrs["changes"]}
        for _ in range(TRIES):
            if not self.left:
                break
            asked = self._ask()
            changes = {**self._study.space.draw(asked), "seed": self._seed}
            key = self._study.trial(changes).key
            duplicate = key in self._keys
            self._count(key, duplicate=duplicate)
            asked.set_user_attr("changes", changes)
            if duplicate:
                asked.set_user_attr("duplicate", True)
                self._optuna.tell(asked, state=TrialState.FAIL)
                continue
            asked.set_user_attr("key", key)
            self._open[trial_id] = asked.number
            return {"role": "search", "changes": changes}
        return cast(None, Searcher.FINISHED)

    def _ask(self) -> optuna.Trial:
        names, waiting = self._study.space.constructions, (TrialState.WAITING,)
        if len(names) > 1 and self._asked < TURNS and not self._optuna.get_trials(deepcopy=False, states=waiting):
            self._optuna.enqueue_trial({"construction": names[self._asked % len(names)]})
        return self._optuna.ask()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Tell Optuna how a trial of the study ended."""
        number = self._open.pop(trial_id, None)
        if number is not None:
            self._tell(number, {} if error or result is None else result)

    def _tell(self, number: int, result: dict[str, Any]) -> None:
        values = _finite(self._study, result)
        self._optuna.tell(number, values, state=None if values else TrialState.FAIL)

    def _reconcile(self) -> list[int]:
        """Bring the study in line with the store after a launcher was killed; return the numbers still to be run."""
        orphans = []
        for trial in self._optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            key = trial.user_attrs.get("key")
            row = self._store.row(key) if key else None
            if row:
                self._tell(trial.number, row)
            elif key:
                orphans.append(trial.number)
            else:
                # Killed between asking and naming: drawn again from its number, it is the same configuration.
                orphans.append(self._name(trial))
        return orphans

    def _failed(self) -> list[dict[str, Any]]:
        """What an earlier launch could not finish, or what is lost: run for its row, though Optuna has been told."""
        trials = self._optuna.get_trials(deepcopy=False, states=(TrialState.FAIL, TrialState.COMPLETE))
        named = [t.user_attrs for t in trials if "key" in t.user_attrs]
        return [
            {"role": "search", "changes": facts["changes"]} for facts in named if self._store.row(facts["key"]) is None
        ]

    def _adopt(self) -> None:
        """Tell a study whose journal was lost what the store has.

        A sampler that draws by number draws the same configurations again, and their rows are found; any other would
        draw new ones beside those that there are.
        """
        rows = [row for row in self._store.rows() if row["role"] == "search" and row["seed"] == self._seed]
        if isinstance(self._optuna.sampler, IndexedSampler):
            return
        for row in sorted(rows, key=lambda row: row["finished_at"]):
            params = {name: row[name] for name in ("construction", *self._study.space.searched) if name in row}
            fixed = optuna.trial.FixedTrial(params)
            changes = {**self._study.space.draw(fixed), "seed": self._seed}  # type: ignore[arg-type]
            if self._study.trial(changes).key != row["key"]:
                continue
            values = _finite(self._study, row)
            self._optuna.add_trial(
                optuna.trial.create_trial(
                    state=TrialState.COMPLETE if values else TrialState.FAIL,
                    values=values,
                    params=fixed.params,
                    distributions=fixed.distributions,
                    user_attrs={"changes": changes, "key": row["key"]},
                )
            )

    def _name(self, frozen: optuna.trial.FrozenTrial) -> int:
        trial = optuna.Trial(self._optuna, frozen._trial_id)
        changes = {**self._study.space.draw(trial), "seed": self._seed}
        trial.set_user_attr("changes", changes)
        trial.set_user_attr("key", self._study.trial(changes).key)
        return frozen.number

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal and the store are the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a sweep is continued by running it again."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Made anew from the journal and the store: through Ray's client, Tune runs on the cluster's head."""
        again = partial(LedgerSearch, trials=self._trials, seed=self._seed)
        return again, (self._study, self._store, self._given)


def _finite(study: Study, result: Mapping[str, Any]) -> list[float] | None:
    """The objectives of a finished trial; None if it has not all of them."""
    values = [result.get(name) for name in study.objectives]
    finite = [float(value) for value in values if value is not None and math.isfinite(value)]
    return finite if result.get("status") == "done" and len(finite) == len(values) else None


def open_study(journal: Path, study: Study, seed: int) -> optuna.Study:
    """The Optuna study in a journal file, made when first opened; a damaged journal is set aside, and a new one begun.

    The caller is the only one who writes to it.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with suppress(FileNotFoundError):  # a launcher that was killed held it: Optuna would wait for half a minute
        journal.with_name(f"{journal.name}.lock").unlink()
    _cut(journal)
    try:
        opened = _create(journal, study)
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError):
        journal.replace(journal.with_name(f"{journal.name}.damaged"))
        opened = _create(journal, study)
    opened.sampler = sampler(study.sampler, seed, asked=len(opened.get_trials(deepcopy=False)))
    return opened


def _create(journal: Path, study: Study) -> optuna.Study:
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))),
        study_name=journal.parent.name,
        directions=["maximize"] * len(study.objectives),
        load_if_exists=True,
    )


def _cut(journal: Path) -> None:
    """Take away a last line that was not written to its end: what Optuna appended to it could never be read."""
    if not journal.exists():
        return
    content = journal.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        write_atomically(journal, whole.decode())
