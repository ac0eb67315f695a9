"""Repeated requests: a proxy or a busy server may fail one of many."""

from collections.abc import Callable
from functools import partial
from time import monotonic, sleep
from typing import Any, ParamSpec, TypeVar

PAUSES = (0.5, 1.0, 2.0)
"""Seconds between repetitions of a request."""
LONGEST = 10.0
"""Seconds after which a request is not repeated: the store is down, not busy."""
READING = ("get_run", "get_experiment", "get_experiment_by_name", "get_metric_history", "list_artifacts")
REPEATABLE = frozenset({
    *(*READING, "search_experiments", "search_runs", "log_artifact", "log_batch", "log_inputs", "restore_experiment"),
    *("set_experiment_tag", "set_tag", "set_terminated", "update_run"),
})  # fmt: skip
"""Methods of MLflow's client that read, or that change nothing when they are called again."""

P = ParamSpec("P")
T = TypeVar("T")


def repeated(is_passing: Callable[[Exception], bool], action: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
    """Call a function again after errors that pass; raises the last one."""
    began = monotonic()
    for pause in PAUSES:
        try:
            return action(*args, **named)
        except Exception as error:
            if not is_passing(error) or monotonic() - began + pause > LONGEST:
                raise
        sleep(pause)
    return action(*args, **named)


class PatientClient:
    """An MLflow client whose requests are repeated where that is safe."""

    def __init__(self, client: Any, is_passing: Callable[[Exception], bool]) -> None:
        self._client, self._is_passing = client, is_passing

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        return partial(repeated, self._is_passing, found) if name in REPEATABLE else found
