"""The engine's benchmarks run to their end on a tiny network, and count their work right."""

import importlib

import pytest
import torch

from basin.training.execution_mode import Engine
from benchmarks.ensembles import Ensembles, Settings
from benchmarks.options import Options
from benchmarks.report import Report

TINY = {"model": "resnet8", "width": "0.25", "resolution": "8", "members": "2", "batch_size": "10", "images": "40"}


needs_avx512 = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() == "AVX2",
    reason="bfloat16 without AVX-512: oneDNN's AVX2 kernels crash on networks this narrow (docs/experiments.md)",
)


def options(**more: str) -> Options:
    return Options(repeats=1, changes={**TINY, "steps": "1", **more})


@needs_avx512
@pytest.mark.parametrize(
    ("name", "unit"),
    [
        ("train", "images"),
        ("constrained", "images"),
        ("distill", "images"),
        ("paths", "points"),
        ("choices", "images"),
        ("accuracy", "images"),
    ],
)
def test_runs_to_its_end(name: str, unit: str) -> None:
    report: Report = importlib.import_module(f"benchmarks.{name}").run(options())
    assert report.tables[0].unit == unit
    assert all(line.rate > 0 for table in report.tables for line in table.lines)
    assert any(line.contestant == report.tables[0].reference and line.ratio == 1 for line in report.tables[0].lines)


@needs_avx512
def test_by_hand_and_ours_score_the_same_networks() -> None:
    report: Report = importlib.import_module("benchmarks.paths").run(options())
    apart = [value for name, value in report.numbers.items() if "float32 and ours, float32" in name]
    assert len(apart) == 1
    assert apart[0] < 0.05


@needs_avx512
def test_work_is_counted_in_member_images() -> None:
    made = Ensembles(options(), options(steps="3").settle(Settings()))
    assert made.ours(made.network("loop", "float32"))() == 2 * 3 * 10
    assert made.reference()() == 2 * 3 * 10


def test_flops_are_those_of_the_convolutions() -> None:
    """ResNet8 of quarter width at 8 px: 2 FLOP a multiplication; the backward pass takes twice the forward's, but for
    the first layer, which needs no gradient of the images."""
    made = Ensembles(options(), options().settle(Settings()))
    forward = {"first": 64 * 27 * 4, "rest": 0}
    for side, inputs, outputs, stride in ((8, 4, 4, 1), (4, 4, 8, 2), (2, 8, 16, 2)):
        forward["rest"] += side**2 * 9 * (inputs * outputs + outputs**2) + side**2 * inputs * outputs * (stride == 2)
    forward["rest"] += 16 * 10
    assert made.flops() == 2 * (2 * forward["first"] + 3 * forward["rest"])


def test_float32_keeps_twice_the_bytes() -> None:
    made = Ensembles(options(), options().settle(Settings()))
    assert made.saved("float32") > 1.5 * made.saved("bfloat16") > 0


def test_networks_run_on_torch_s_threads() -> None:
    made = Ensembles(options(), options().settle(Settings()))
    assert made.network("threads", "float32").engine == Engine("threads", torch.get_num_threads())
