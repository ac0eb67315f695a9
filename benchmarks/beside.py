"""Trials side by side on the cores of a machine, one thread each: what a sweep does."""

import multiprocessing
from multiprocessing.connection import Connection

import torch

from benchmarks.ensembles import Ensembles, Settings
from benchmarks.options import Options
from benchmarks.timing import Contestant


def beside(options: Options, settings: Settings, count: int) -> Contestant:
    """So many processes that each train an ensemble of their own, in bfloat16 and one network after another."""
    context = multiprocessing.get_context("spawn")
    ends = []
    for _ in range(count):
        ours, theirs = context.Pipe()
        context.Process(target=_serve, args=(theirs, options, settings), daemon=True).start()
        ends.append(ours)

    def step() -> float:
        for end in ends:
            end.send("go")
        return sum(float(end.recv()) for end in ends)

    return step


def _serve(connection: Connection, options: Options, settings: Settings) -> None:
    torch.set_num_threads(1)
    made = Ensembles(options, settings)
    step = made.ours(made.network("loop", "bfloat16"))
    while connection.recv():
        connection.send(step())
