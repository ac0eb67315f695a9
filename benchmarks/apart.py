"""Contestants in processes of their own: trials side by side as in a sweep, and a reference as a user would run it."""

import atexit
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection

import torch

from benchmarks.ensembles import Ensembles, Settings
from benchmarks.options import Options
from benchmarks.timing import Contestant

Make = Callable[[Ensembles], Contestant]


def apart(make: Make, options: Options, settings: Settings, *, processes: int, threads: int) -> Contestant:
    """So many processes that work at the same time, with so many CPU threads each."""
    context = multiprocessing.get_context("spawn")
    ends = []
    for _ in range(processes):
        ours, theirs = context.Pipe()
        context.Process(target=_serve, args=(theirs, make, options, settings, threads)).start()
        theirs.close()
        atexit.register(ours.close)
        ends.append(ours)

    def step() -> float:
        for end in ends:
            end.send("go")
        return sum(float(end.recv()) for end in ends)

    return step


def reference(made: Ensembles) -> Contestant:
    """What a user would write."""
    return made.reference()


def trial(made: Ensembles) -> Contestant:
    """One trial of ours: bfloat16, one network after another."""
    return made.ours(made.network("loop", "bfloat16"))


def _serve(connection: Connection, make: Make, options: Options, settings: Settings, threads: int) -> None:
    multiprocessing.set_start_method(None, force=True)  # the system's own for a DataLoader, as a user has it
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True
    step = make(Ensembles(options, settings))
    while True:
        try:
            connection.recv()
        except EOFError:  # the benchmark has ended
            return
        connection.send(step())
