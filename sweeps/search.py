"""The searcher: hands out trials that are owed, then asks Optuna for new ones, and tells it validation scores only.

Not Ray's OptunaSearch, which leaves a trial with a missing or NaN objective running for ever, and tells a stopped
trial as complete. The study lives in a journal file; what Tune keeps is disposable.
"""

from collections.abc import Callable
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
from sweeps.samplers import INDEXED, WARM, sampler
from sweeps.store import Row, Store
from sweeps.study import Config, Study
from sweeps.telling import Telling

TRIES = 100
"""Configurations drawn in a row that were there already, before the space counts as exhausted."""
TURNS = 10
"""First configurations in which the constructions take turns: as many as TPE draws before it has learned anything."""

NOT_WAITING = (TrialState.RUNNING, TrialState.FAIL, TrialState.COMPLETE, TrialState.PRUNED)


class LedgerSearch(Searcher):
    """Owed trials first, then the rest of an Optuna study's configurations; nothing that the store has already.

    A configuration of several seeds is one Optuna trial: its other seeds are handed out when the first is done. What
    `finally_` says, it is asked when all of these are done.
    """

    def __init__(
        self,
        study: Study,
        store: Store,
        owed: list[Config],
        *,
        trials: int,
        seed: int,
        finally_: Callable[[], list[Config]] | None = None,
    ) -> None:
        super().__init__()
        self._finally, self._last = finally_, finally_
        self._study, self._store, self._trials, self._seed = study, store, trials, seed
        self._given = owed
        self._owed: list[tuple[Config, int | None]] = [(config, None) for config in owed]
        self._keys = {study.trial(config["changes"]).key for config in owed}
        self._optuna = open_study(store.journal, study, seed)
        self._telling = Telling(study, store, self._optuna)
        if not any("key" in trial.user_attrs for trial in self._optuna.get_trials(deepcopy=False)):
            self._adopt()
        self._open: dict[str, tuple[Config, int | None]] = {}
        self._found: dict[int, list[Row]] = {}
        self._reconcile()
        # Counted once, then kept up to date: looking through all trials for each new one is quadratic in the sweep.
        self._asked = self._distinct = self._repeats = 0
        for trial in self._optuna.get_trials(deepcopy=False):
            if trial.state is TrialState.WAITING or WARM in trial.user_attrs:
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
        """Trials still to be handed out, at most, without the final ones."""
        first = sum(number is not None and not self._found.get(number) for _, number in self._owed)
        return len(self._owed) + first * (self._study.replicates - 1) + self._fresh * self._study.replicates

    @property
    def _fresh(self) -> int:
        """Configurations still to be drawn."""
        exhausted = self._asked > TRIES and self._repeats >= TRIES
        return 0 if exhausted else max(0, self._trials - self._distinct)

    def suggest(self, trial_id: str) -> Config | None:
        """The next trial's configuration; None while that depends on trials under way, FINISHED when there is none."""
        if not self._owed:
            self._draw()
        if self._last and not self._owed and not self._open:
            self._owed = [(config, None) for config in self._last()]
            self._last = None
        if self._owed:
            self._open[trial_id] = self._owed.pop(0)
            return self._open[trial_id][0]
        waiting = any(number is not None and not self._found.get(number) for _, number in self._open.values())
        more = self._last or (waiting and self._study.replicates > 1)
        return None if more else cast(None, Searcher.FINISHED)

    def _draw(self) -> None:
        """Ask for a configuration that is not there yet, if the study has any left."""
        for _ in range(TRIES):
            if not self._fresh:
                return
            asked = self._ask()
            changes = {**self._study.space.draw(asked), "seed": self._seed}
            key = self._study.trial(changes).key
            duplicate = key in self._keys
            self._count(key, duplicate=duplicate)
            asked.set_user_attr("changes", changes)
            if not duplicate:
                asked.set_user_attr("key", key)
                self._owed.append(({"role": "search", "changes": changes}, asked.number))
                return
            asked.set_user_attr("duplicate", True)
            self._optuna.tell(asked, state=TrialState.FAIL)

    def _ask(self) -> optuna.Trial:
        names, waiting = self._study.space.constructions, (TrialState.WAITING,)
        if len(names) > 1 and self._asked < TURNS and not self._optuna.get_trials(deepcopy=False, states=waiting):
            self._optuna.enqueue_trial({"construction": names[self._asked % len(names)]})
        return self._optuna.ask()

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Note how a trial of the study ended, and tell Optuna when its configuration's last seed has."""
        config, number = self._open.pop(trial_id, (None, None))
        if config is None or number is None:
            return
        row: Row = {} if error or result is None else dict(result)
        if row and "status" not in row:  # stopped: what stopped it has written the row
            row = self._store.row(self._study.trial(config["changes"]).key) or {}
        self._note(number, row, config)

    def _note(self, number: int, row: Row, config: Config) -> None:
        """One seed of a configuration has ended."""
        found = self._found.setdefault(number, [])
        found.append(row)
        if len(found) == 1 and row.get("status") == "done":
            self._owed += [(other, number) for other in self._replicates(config)]
        if row.get("status") != "done" or len(found) == self._study.replicates:
            self._tell(number)

    def _tell(self, number: int) -> None:
        trial = self._optuna.get_trials(deepcopy=False)[number]
        if not trial.state.is_finished():
            self._telling.tell(trial, self._found[number])

    def _replicates(self, config: Config) -> list[Config]:
        """The other seeds of a configuration."""
        seeds = range(self._seed + 1, self._seed + self._study.replicates)
        return [{"role": "replicate", "changes": {**config["changes"], "seed": seed}} for seed in seeds]

    def _reconcile(self) -> None:
        """Bring the study in line with the store after a launcher was killed; what is left of its trials is owed.

        What an earlier launch could not finish, or what is lost, is run for its row, though Optuna has been told.
        """
        last: list[tuple[Config, int | None]] = []
        for trial in self._optuna.get_trials(deepcopy=False, states=NOT_WAITING):
            running = trial.state is TrialState.RUNNING
            if "key" not in trial.user_attrs:
                if not running:
                    continue  # a duplicate, or of another sweep
                # Killed between asking and naming: drawn again from its number, it is the same configuration.
                self._name(trial)
            first: Config = {
                "role": "search",
                "changes": self._optuna.get_trials(deepcopy=False)[trial.number].user_attrs["changes"],
            }
            owed = self._owed if running else last
            number = trial.number if running else None
            rows = self._rows(first)
            if rows[0] is None:
                owed.append((first, number))
            elif running:
                self._go_on(trial.number, first, rows)
            elif rows[0]["status"] == "done":
                others = zip(self._replicates(first), rows[1:], strict=True)
                last += [(config, None) for config, row in others if row is None]
        self._owed += last

    def _go_on(self, number: int, first: Config, rows: list[Row | None]) -> None:
        """Go on with a configuration whose first seed has ended."""
        self._found[number] = [row for row in rows if row]
        if rows[0] and rows[0]["status"] == "done":
            others = zip(self._replicates(first), rows[1:], strict=True)
            self._owed += [(config, number) for config, row in others if row is None]
        if None not in rows or (rows[0] and rows[0]["status"] != "done"):
            self._tell(number)

    def _rows(self, first: Config) -> list[Row | None]:
        """Of every seed of a configuration."""
        configs = [first, *self._replicates(first)]
        return [self._store.row(self._study.trial(config["changes"]).key) for config in configs]

    def _adopt(self) -> None:
        """Tell a study whose journal was lost what the store has.

        A sampler that draws by number draws the same configurations again, and their rows are found; any other would
        draw new ones beside those that there are.
        """
        if self._study.sampler in INDEXED:
            return
        rows = [row for row in self._store.rows() if row["role"] == "search" and row["seed"] == self._seed]
        for row in sorted(rows, key=lambda row: row["finished_at"]):
            point = self._study.space.point(row)
            if point is None:
                continue
            changes = {"construction": row["construction"], **point, "seed": self._seed}
            if self._study.trial(changes).key != row["key"]:
                continue
            # As if its launcher had been killed: it is told, or its other seeds are owed, with those that were running.
            self._optuna.add_trial(
                optuna.trial.create_trial(
                    state=TrialState.RUNNING,
                    params=point,
                    distributions=self._study.space.distributions(row["construction"]),
                    user_attrs={"changes": changes, "key": row["key"]},
                )
            )

    def _name(self, frozen: optuna.trial.FrozenTrial) -> None:
        trial = optuna.Trial(self._optuna, frozen._trial_id)
        changes = {**self._study.space.draw(trial), "seed": self._seed}
        trial.set_user_attr("changes", changes)
        trial.set_user_attr("key", self._study.trial(changes).key)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal and the store are the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: a sweep is continued by running it again."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Made anew from the journal and the store: through Ray's client, Tune runs on the cluster's head."""
        again = partial(LedgerSearch, trials=self._trials, seed=self._seed, finally_=self._finally)
        return again, (self._study, self._store, self._given)


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
    asked = sum(WARM not in trial.user_attrs for trial in opened.get_trials(deepcopy=False))
    opened.sampler = sampler(study.sampler, seed, study.space, asked)
    return opened


def _create(journal: Path, study: Study) -> optuna.Study:
    return optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(journal))),
        study_name=journal.parent.name,
        directions=["maximize" if sign > 0 else "minimize" for sign in study.signs],
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
