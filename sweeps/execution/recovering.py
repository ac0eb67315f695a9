"""Give trials back to the searcher whose process was lost before they began: Tune gives them up.

If a process dies in which Tune was to begin a trial (`reuse_actors`), Tune handles the error twice. First it queues the
trial again; then it finds a trial that does not run, which `max_failures` does not cover.
"""

from typing import Any

from ray.tune.execution.tune_controller import TuneController
from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler

from sweeps.search.searcher import ResumableSearch


class RecoveringScheduler(FIFOScheduler):
    """Runs every trial to its end; one that is lost before it began is handed out again.

    Tune tells its scheduler of an error before it tells the searcher.
    """

    def __init__(self, search: ResumableSearch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._search = search

    def on_trial_error(self, tune_controller: TuneController, trial: TuneTrial) -> None:
        """Give a trial back that Tune gives up although it did not run; its error is no failure then."""
        if trial.status == TuneTrial.PENDING and self._search.take_back(trial.trial_id):
            metadata: Any = trial.run_metadata
            metadata.error_filename = metadata.pickled_error_filename = None


def is_given_back(trial: TuneTrial) -> bool:
    """Tell whether the job of a trial that ended with an error is handed out again.

    `get_error` cannot tell: it reads the error from the storage, where it may not have arrived.
    """
    return trial.run_metadata.error_filename is None
