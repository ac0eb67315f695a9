"""The searcher's journal: an Optuna study in one file that survives a killed launcher."""

import warnings
from contextlib import suppress
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from basin.files import write_atomically
from sweeps.search.indexed import WARM
from sweeps.search.samplers import make_sampler
from sweeps.study.study import Study


def open_study(journal: Path, study: Study, seed: int) -> optuna.Study:
    """Open the Optuna study of a journal file, or create it; a damaged journal is set aside and a new one created.

    Only one process may write to a journal.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with suppress(FileNotFoundError):  # left by a killed launcher: Optuna would wait for half a minute
        journal.with_name(f"{journal.name}.lock").unlink()
    _drop_torn_line(journal)
    try:
        opened = _create_study(journal, study)
    except (ValueError, LookupError, TypeError, AttributeError, AssertionError):
        journal.replace(journal.with_name(f"{journal.name}.damaged"))
        opened = _create_study(journal, study)
    _name_objectives(opened, study)
    asked = sum(WARM not in trial.user_attrs for trial in opened.get_trials(deepcopy=False))
    opened.sampler = make_sampler(study.sampler, seed, study.space, asked)
    return opened


def _create_study(journal: Path, study: Study) -> optuna.Study:
    """Open the journal's study, which keeps its name if the folder has another one now."""
    storage = JournalStorage(JournalFileBackend(str(journal)))
    names = [known.study_name for known in storage.get_all_studies()]
    return optuna.create_study(
        storage=storage,
        study_name=names[0] if len(names) == 1 else journal.parent.name,
        directions=["maximize" if sign > 0 else "minimize" for sign in study.signs],
        load_if_exists=True,
    )


def _name_objectives(opened: optuna.Study, study: Study) -> None:
    """Name the objectives for who reads the journal; an Optuna that takes no names is no reason to stop."""
    names = list(study.objectives)
    with warnings.catch_warnings(), suppress(AttributeError, ValueError):
        warnings.simplefilter("ignore", ExperimentalWarning)
        if opened.metric_names != names:
            opened.set_metric_names(names)


def _drop_torn_line(journal: Path) -> None:
    """Remove an incomplete last line: anything that Optuna appends to it would be unreadable."""
    if not journal.exists():
        return
    content = journal.read_bytes()
    whole = content[: content.rfind(b"\n") + 1]
    if whole != content:
        write_atomically(journal, whole.decode())
