"""Time to the answer: both sides train by one recipe, measure the same networks alike, and count their work right."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy import stats

from basin import stack
from basin.constructions import constructions
from basin.constructions.distilled import Distilled
from basin.ensemble import Ensemble
from basin.environment import Machine, Place
from basin.measure import measure_ensemble
from basin.training.constraints import tie_members
from basin.training.distillation import Distillation, Teachers
from basin.training.flat_parameters import Flat
from basin.training.gradients import EagerGradients, GradientSum
from basin.training.objective import Batch, Draw, Meter
from basin.trial import open_data, open_task
from benchmarks import answer
from benchmarks.answer import PARTS, Side, welch_interval
from benchmarks.answer_script import Script
from benchmarks.answer_study import CONSTRUCTIONS, Settings, base_trial, planned_trials, script_passes, system_passes
from tests.support.blocked import blocked_environment

TINY = Settings(
    width=0.5, train_size=40, held=50, epochs=2, batch_size=10, alphas=3, hull_points=1, precision="float32", seeds=2
)


@pytest.fixture
def place(tmp_path: Path, image_cache: Path) -> Place:
    return Place(machine=Machine(device="cpu"), cache=image_cache, runs=tmp_path)


@pytest.fixture
def script(place: Place, monkeypatch: pytest.MonkeyPatch) -> Script:
    monkeypatch.setattr(os, "cpu_count", lambda: 0)  # no processes load images: the tests draw their own batches
    base = base_trial(TINY, None)
    return Script(base, open_data(base, place), torch.device("cpu"))


def params_of(networks: list[torch.nn.Module]) -> stack.Stack:
    return stack.stack_networks([stack.of_module(network) for network in networks])


def test_a_step_of_the_script_is_one_of_the_system(script: Script, place: Place) -> None:
    """The gradient of K·L for the same members, teachers, batches and mixed network."""
    torch.manual_seed(3)
    how = constructions.make("distilled", members=3, beta=2.0)
    assert isinstance(how, Distilled)
    networks, teachers = ([script.fresh() for _ in range(3)] for _ in range(2))
    for network in networks:
        network.load_state_dict(
            {k: v + 0.1 * torch.randn_like(v) if "weight" in k else v for k, v in networks[0].state_dict().items()}
        )
    task = open_task(script.base, place)
    flat = Flat(params_of(networks), task.network.weights)
    known = Teachers(task.network, params_of(teachers))
    batches = [Batch(torch.randn(10, 1, 8, 8), torch.randint(10, (10,))) for _ in range(3)]

    script._batches, mixed = iter([(batch.images, batch.labels) for batch in batches]), script.fresh()
    torch.manual_seed(5)
    script._tied_step(how, networks, mixed, [teacher.eval() for teacher in teachers])

    torch.manual_seed(5)
    shares = torch.distributions.Dirichlet(torch.ones(3)).sample()
    draw = Draw(shares[None].double(), (int(torch.randint(3, ())),), torch.ones(1, dtype=torch.float64))
    loss = Distillation(known, temperature=how.temperature, weight=how.weight)
    objective = tie_members(loss.objective(), constraint="simplex", beta=how.beta)
    total = GradientSum(task.network, flat, objective, Meter(), task.network.engine.training(3, "test", lambda: None))
    EagerGradients(total).step(batches, draw)
    views = flat.views(flat.grads)
    for k, network in enumerate(networks):
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(parameter.grad, views[name][k], rtol=1e-3, atol=1e-5)
    assert script.images == 4 * 10


def test_the_script_measures_as_the_system_does(script: Script, place: Place) -> None:
    torch.manual_seed(1)
    networks = script.train_deep(2)
    task = open_task(script.base, place)
    ours = measure_ensemble(task, Ensemble.of_members(params_of(networks)), script.base.evaluation).scores
    scores = script.measure(networks)
    for split in ("val", "test"):
        for name in ("accuracy", "member_mean_accuracy"):
            assert scores[f"{split}_{name}"] == pytest.approx(ours[f"{split}_{name}"])
        # All 40 training images are one batch of statistics on both sides.
        for name in ("soup_accuracy", "barrier_reset"):
            assert scores[f"{split}_{name}"] == pytest.approx(ours[f"{split}_{name}"], abs=2.1)  # an image is 2 points


def test_every_construction_trains_what_it_should(script: Script) -> None:
    """4 steps an epoch, 8 in all; t = 0.1 is a trunk of 1 step, then 7 of 3 members and a mixed network."""
    rows = [script.run_trial(trial) for trial in planned_trials(script.base, 1)]
    assert [row["construction"] for row in rows] == list(CONSTRUCTIONS)
    tied = 1 + 7 * 4
    # The snapshots of swe: after 4 of 8 steps, one step apart.
    passes = dict(zip(CONSTRUCTIONS, [3 * 8, tied, 3 * 8 + tied, 7, 3 * 8], strict=True))
    assert {row["construction"]: row["images"] for row in rows} == {name: 10 * n for name, n in passes.items()}
    assert script_passes(script.base, 2, 40) == 2 * sum(passes.values())
    # The system trains three networks a seed, of which the first is the trunk too.
    assert system_passes(script.base, 2, 40) == 2 * (3 * 8 + 2 * 7 * 4 + 7)
    for row in rows:
        assert row["training"] > 0
        assert row["measuring"] > 0
        assert 0 <= row["test_accuracy"] <= 100


def test_time_is_divided_among_workers() -> None:
    side = Side(wall=10.0, workers=2)
    for row in ({"phase": "stages", "seconds": 3.0}, {"done": "stage"}, {"stages": 4.0}):
        side.take(row)
    for training, matching, measuring in ((6.0, 0.0, 1.0), (0.0, 2.0, 3.0)):
        times = dict(zip(PARTS, (training, matching, measuring), strict=True))
        side.take({"construction": "deep", **times})
    assert [side.spent(part) for part in PARTS] == [5.0, 1.0, 2.0]
    assert side.outside == pytest.approx(1 - 8 / 10)
    assert side.phases == {"stages": 3.0}


def test_the_interval_is_welch_s() -> None:
    first, second = [60.0, 62.0, 64.0], [59.0, 59.5, 61.0]
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    assert welch_interval(first, second) == pytest.approx((expected.low, expected.high))
    assert welch_interval([5.0, 5.0], [3.0, 3.0]) == (2.0, 2.0)


def test_the_system_is_a_sweep_where_ray_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert answer._system_module(Settings()) == "benchmarks.answer_sweep"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert answer._system_module(Settings()) == "benchmarks.answer_trials"
    assert answer._system_module(replace(Settings(), system="sweep")) == "benchmarks.answer_sweep"


@pytest.mark.slow
def test_the_trials_need_neither_ray_nor_mlflow_nor_optuna(root: Path, tmp_path: Path, image_cache: Path) -> None:
    changes = {"train_size": 40, "held": 50, "epochs": 2, "batch_size": 10, "alphas": 3, "seeds": 2, "workers": 2}
    words = [f"--set={name}={value}" for name, value in {**changes, "precision": "float32", "system": "trials"}.items()]
    environment = blocked_environment(tmp_path)
    command = [sys.executable, "-m", "benchmarks", "answer", "--device", "cpu", *words]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "script, swe, seed 1" in done.stderr
    assert "system, swe, seed 1" in done.stderr
    for words_of_table in ("wall time (s)", "member-images trained", "training a member-image", "agree"):
        assert words_of_table in done.stdout
    blocked = subprocess.run(
        [sys.executable, "-c", "import ray"], env=environment, capture_output=True, text=True, check=False
    )
    assert "blocked: ray" in blocked.stderr
