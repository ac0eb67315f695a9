"""Contestants in separate processes: concurrent trials as in a sweep, and a reference as a user would run it."""

import atexit
import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from threading import Event

import torch

from benchmarks.ensembles import Ensembles, Settings
from benchmarks.options import Options
from benchmarks.timing import Contestant

PATIENCE = 5.0
"""Seconds that an idle process has to end."""
Make = Callable[[Ensembles], Contestant]


def run_apart(make: Make, options: Options, settings: Settings, *, processes: int, threads: int) -> Contestant:
    """A contestant of `processes` concurrent processes with `threads` CPU threads each."""
    context = multiprocessing.get_context("spawn")
    ends, busy = [], Event()
    for _ in range(processes):
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve_steps, args=(theirs, make, options, settings, threads))
        process.start()
        theirs.close()
        atexit.register(_end_process, process, ours, busy)
        ends.append(ours)

    def step() -> float:
        busy.set()
        for end in ends:
            end.send("go")
        work = sum(float(end.recv()) for end in ends)
        busy.clear()
        return work

    return step


def reference_contestant(made: Ensembles) -> Contestant:
    """A plain PyTorch training loop."""
    return made.reference()


def trial_contestant(made: Ensembles) -> Contestant:
    """One trial of ours in bfloat16: one network after another on a CPU, all at once on a GPU."""
    return made.ours(made.network("graphs" if made.device.type == "cuda" else "loop", "bfloat16"))


def _end_process(process: BaseProcess, connection: Connection, busy: Event) -> None:
    """Wait for an idle process to end by itself; end one that still works, because the benchmark was stopped."""
    connection.close()
    if not busy.is_set():
        process.join(PATIENCE)
    process.terminate()
    process.join()


def _serve_steps(connection: Connection, make: Make, options: Options, settings: Settings, threads: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is the benchmark's to answer
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
