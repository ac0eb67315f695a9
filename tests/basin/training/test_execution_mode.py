"""Every way to run the networks of a stack gives the same numbers; the engine takes one that fits and is fast."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from basin import stack
from basin.connectivity.batchnorm import POLICIES, MixingContext
from basin.connectivity.paths import PathPoint, alpha_grid, score_paths
from basin.connectivity.probe import Probe
from basin.errors import UsageError
from basin.prediction import predict, reestimate_batchnorm
from basin.stack import Stack
from basin.task import Task
from basin.training.constraints import draw_path
from basin.training.distillation import Distillation, Teachers
from basin.training.execution_mode import Engine, Way, out_of_memory
from basin.training.loop import State
from basin.training.objective import Objective
from tests.support.tiny_trial import MODELS, WAYS, advance, batches, copy, double, fresh, gradient, same, task

CPU = torch.device("cpu")
TIED = Objective(beta=0.5, sampler=draw_path)


def engine(work: Task, wanted: str, threads: int = 2) -> Task:
    work.network.engine = Engine(wanted, threads)  # type: ignore[arg-type]
    return work


@pytest.mark.parametrize("wanted", ["threads", "stacked", "graphs"])
@pytest.mark.parametrize("kind", MODELS)
def test_loop_and_others_train_alike(kind: str, wanted: str, tmp_path: Path, cache: Path) -> None:
    ends = []
    for name in ("loop", wanted):
        work = engine(task(tmp_path, cache, **MODELS[kind]), name)
        ends.append(advance(work, State(fresh(work.network, 3)), 5, TIED))
    loop, other = ends
    for name, tensor in loop.thetas.items():
        torch.testing.assert_close(other.thetas[name], tensor, rtol=1e-3, atol=1e-4)
    assert other.loss == pytest.approx(loop.loss, rel=1e-4)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", MODELS)
def test_gradients_agree_to_rounding_in_float64(kind: str, way: str, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS[kind])
    thetas, given = double(fresh(work.network, 3)), batches(work, 3)
    expected = gradient(work, thetas, TIED, given)
    found = gradient(work, thetas, TIED, given, way=WAYS[way])
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_threads_change_no_bit_of_a_member(tmp_path: Path, cache: Path) -> None:
    ends = []
    for wanted in ("loop", "threads"):
        work = engine(task(tmp_path, cache, **MODELS["batch"]), wanted)
        ends.append(advance(work, State(fresh(work.network, 3)), 5).thetas)
    assert same(*ends)


@pytest.mark.parametrize("kind", MODELS)
def test_running_statistics_are_updated_in_one_call(kind: str, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS[kind])
    one, many = fresh(work.network, 3), fresh(work.network, 3)
    images = [torch.randn(6, *work.data.shape) for _ in range(3)]
    alone = work.network.compute_logits(one, images, train=True)
    together = work.network.compute_logits(many, images, train=True, together=True)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(many, one, rtol=1e-4, atol=1e-5)


def curves(work: Task, thetas: Stack) -> list[PathPoint]:
    probe = Probe(MixingContext(work.network, thetas, work.data), {"val": work.data.val})
    return list(score_paths(probe, alphas=alpha_grid(5), policies=POLICIES))


@pytest.mark.parametrize("wanted", ["loop", "threads", "stacked", "graphs"])
@pytest.mark.parametrize("kind", MODELS)
def test_evaluation_does_not_depend_on_the_engine(kind: str, wanted: str, tmp_path: Path, cache: Path) -> None:
    plain, other = (engine(task(tmp_path, cache, **MODELS[kind]), name) for name in ("loop", wanted))
    thetas = fresh(plain.network, 3)
    expected, found = (predict(work.network, thetas, work.data.test, work.data) for work in (plain, other))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    way = other.network.engine.evaluation()
    renewed = reestimate_batchnorm(other.network, thetas, other.data, 50, way=way)
    torch.testing.assert_close(
        renewed, reestimate_batchnorm(plain.network, thetas, plain.data, 50), rtol=1e-4, atol=1e-5
    )
    points = [curves(work, thetas) for work in (plain, other)]
    for one, two in zip(*points, strict=True):
        assert (one.i, one.j, one.alpha, one.policy) == (two.i, two.j, two.alpha, two.policy)
        assert two.loss == pytest.approx(one.loss, rel=1e-4)


# What is chosen.


@pytest.mark.parametrize(("slow", "fast"), [("loop", "threads"), ("threads", "loop")])
def test_auto_takes_what_is_faster_and_asks_once(slow: str, fast: str) -> None:
    chooser, tried = Engine("auto", 2), []

    def prepare(way: Way) -> Callable[[], None]:
        tried.append(way.name)
        return lambda: time.sleep(0.02 if way.name == slow else 0.0)

    assert chooser.training(4, "plain", prepare).name == fast
    assert sorted(tried) == ["loop", "threads"]
    assert chooser.training(4, "plain", prepare).name == fast
    assert len(tried) == 2
    assert chooser.used == fast
    chooser.training(4, "constrained", prepare)
    assert len(tried) == 4


@pytest.mark.parametrize(("count", "threads"), [(1, 2), (4, 1)])
def test_auto_has_no_choice_with_one_network_or_one_thread(count: int, threads: int) -> None:
    def prepare(way: Way) -> Callable[[], None]:
        raise AssertionError("nothing to try")

    assert Engine("auto", threads).training(count, "", prepare) == Way()


@pytest.mark.parametrize("wanted", ["stacked", "graphs"])
def test_trials_that_fit_are_tried_with_fewer_networks_at_once(wanted: str) -> None:
    widths = []

    def prepare(way: Way) -> Callable[[], None]:
        def step() -> None:
            widths.append(way.width)
            if way.width > 2:
                raise torch.OutOfMemoryError("out of memory\nand more words")

        return step

    chosen = Engine(wanted).training(16, "", prepare)  # type: ignore[arg-type]
    assert widths[:4] == [16, 8, 4, 2]
    assert chosen == Way(wanted, 1, 2)  # type: ignore[arg-type]
    assert chosen.parts(5) == [slice(0, 2), slice(2, 4), slice(4, 5)]


def test_a_step_that_never_fits_says_what_to_do() -> None:
    def prepare(way: Way) -> Callable[[], None]:
        raise torch.OutOfMemoryError("no room\nand more words")

    with pytest.raises(torch.OutOfMemoryError, match="no room"):
        Engine("stacked").training(3, "", prepare)
    words = r"out of memory .*\(no room\): reduce batch_size or width"
    with pytest.raises(UsageError, match=words):
        raise out_of_memory(torch.OutOfMemoryError("no room\nand more words"))


def test_a_stack_that_does_not_fit_is_trained_in_parts(tmp_path: Path, cache: Path) -> None:
    plain, work = (engine(task(tmp_path, cache), name) for name in ("loop", "stacked"))
    sizes = []

    def limited(module: object, inputs: tuple[torch.Tensor, ...]) -> None:
        wrapped = torch._C._functorch.is_batchedtensor(inputs[0])  # a part of one network shares its images
        sizes.append(torch._C._functorch.get_unwrapped(inputs[0]).shape[0] if wrapped else 1)
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("no room")

    handle = work.network.module.register_forward_pre_hook(limited)
    found = advance(work, State(fresh(work.network, 3)), 2)
    handle.remove()
    assert sizes[:2] == [3, 2]
    assert max(sizes[1:]) == 2
    expected = advance(plain, State(fresh(plain.network, 3)), 2)
    torch.testing.assert_close(found.thetas, expected.thetas, rtol=1e-4, atol=1e-5)
    assert work.meter == plain.meter


def test_a_step_out_of_memory_says_what_to_do(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)

    def full(*inputs: object) -> None:
        raise torch.OutOfMemoryError("no room")

    handle = work.network.module.register_forward_pre_hook(full)
    with pytest.raises(UsageError, match="reduce batch_size or width"):
        advance(work, State(fresh(work.network, 2)), 1)
    handle.remove()


@pytest.mark.parametrize("taught", [False, True])
def test_trying_leaves_state_and_meter_alone(taught: bool, tmp_path: Path, cache: Path) -> None:
    ends, meters = [], []
    for wanted in ("loop", "auto"):
        work = engine(task(tmp_path, cache, **MODELS["batch"]), wanted)
        teachers = Teachers(work.network, fresh(work.network, 2))
        aim = Distillation(teachers, temperature=2.0, weight=0.9).objective() if taught else TIED
        state = advance(work, State(fresh(work.network, 2)), 3, aim)
        ends.append(copy(state.thetas))
        meters.append(work.meter)
        assert meters[-1].teacher_forwards == (2 * 3 if taught else 0)
    for name, tensor in ends[0].items():
        torch.testing.assert_close(ends[1][name], tensor, rtol=1e-5, atol=1e-6)
    assert meters[0] == meters[1]


def test_the_trained_stack_is_views_of_one_matrix(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    state = advance(work, State(fresh(work.network, 2)), 1)
    storages = {state.thetas[name].untyped_storage().data_ptr() for name in work.network.weights}
    assert len(storages) == 1
    assert stack.count_networks(state.thetas) == 2
