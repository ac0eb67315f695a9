"""Run a check in a process of its own, so that what it registers or imports reaches no other test."""

import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def in_own_process(check: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what a function of a module gives in a new process; its errors are raised here."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(check, *args, **kwargs).result()
