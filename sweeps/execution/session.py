"""A connection to Ray for the duration of a block, and tasks on one of its nodes."""

import gc
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import ray

from basin.errors import UsageError
from sweeps.execution.connection import cause_in_words, connect_ray
from sweeps.execution.options import Options
from sweeps.execution.signals import Stopped, catch_signals, check_stop, postponed, unheard_by_children

POLL = 0.5
"""Seconds after which a launcher that waits for tasks looks for a signal."""
Result = TypeVar("Result")


@contextmanager
def open_session(options: Options) -> Iterator[int]:
    """Connect to Ray; yields the number of trials that fit the cluster at once.

    Raises UsageError if Ray does not answer, or no trial fits.
    """
    # Under `uv run` a hook would start every worker through uv, although the environment exists.
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
    logging.getLogger("ray").setLevel(logging.ERROR)
    for name in ("ray.tune", "ray.air"):  # errors of trials are printed at the end, one line each
        logging.getLogger(name).setLevel(logging.CRITICAL)
    _connect(options.address)
    try:
        check_stop()
        yield _free_slots(options)
    finally:
        # Ray handles in reference cycles crash the process if another thread collects them during shutdown.
        with postponed():
            gc.collect()
            ray.shutdown()


def _connect(address: str) -> None:
    try:
        with postponed(), unheard_by_children():
            connect_ray(address)
            catch_signals()
    except Stopped:
        ray.shutdown()
        raise
    except UsageError:
        raise
    except Exception as error:  # Ray raises exceptions of every type, and a bare one if it does not start in time
        words = cause_in_words(error)
        if address == "local":
            raise UsageError(_explain_no_start(words)) from error
        raise UsageError(
            f"--address {address}: expected a Ray cluster that answers, got {words}; "
            "start one with `ray up` or `ray start --head`, or use --address local"
        ) from error


def _explain_no_start(words: str) -> str:
    """Explain why Ray did not start on this machine."""
    if "AF_UNIX path" in words:
        return "TMPDIR is too long for Ray's sockets: set RAY_TMPDIR to a shorter folder, such as /tmp"
    return f"Ray did not start on this machine: {words}; rerun the command, or end other programs that use its CPUs"


def _free_slots(options: Options) -> int:
    """Trials that fit the cluster at once; --concurrency where the cluster may still grow."""
    available = ray.cluster_resources()
    if options.concurrency and options.address != "local":
        return options.concurrency
    requested = {"CPU": options.cpus_per_trial, "GPU": options.gpus_per_trial}
    # Ray counts in ten-thousandths; 1 // 0.1 is 9 in floating point.
    slots = [
        int(round(1e4 * available.get(name, 0)) // round(1e4 * amount)) for name, amount in requested.items() if amount
    ]
    fitting = min(slots, default=0)
    if fitting < 1:
        raise UsageError(
            f"a trial requests {options.cpus_per_trial:g} CPUs and {options.gpus_per_trial:g} GPUs but the cluster "
            f"has only {available.get('CPU', 0):g} and {available.get('GPU', 0):g}: "
            "lower --cpus-per-trial or --gpus-per-trial"
        )
    return min(fitting, options.concurrency or fitting)


def run_on_node(function: Callable[..., Result], options: Options, *arguments: object) -> Result:
    """Run a function in a Ray task with the resources of a trial, and return its result."""
    task = ray.remote(num_cpus=options.cpus_per_trial, num_gpus=options.gpus_per_trial, max_retries=10)(function)
    waiting = [task.remote(*arguments)]
    while waiting:
        with postponed():
            ready, waiting = ray.wait(waiting, timeout=POLL)
    result: Result = ray.get(ready[0])
    return result
