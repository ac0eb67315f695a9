"""Snapshots of one run: the schedules in closed form, and every snapshot against a plain run stopped at its step."""

from pathlib import Path

import pytest
import torch

from basin import stack, stages
from basin.constructions.swe import SWE
from basin.ensemble import Ensemble
from basin.errors import UsageError
from basin.task import Task
from basin.training.loop import LearningRate, State, Training, train
from basin.training.objective import Meter
from tests.support.tiny_trial import MODELS, advance, alone, copy, grown, same, spent, task

STEPS = 15
FIELDS = {"members": 3, "start": 0.4}
"""Snapshots after steps 9, 12 and 15 of 15; an epoch is 5 steps."""


def rates(construction: SWE, training: Training, steps: int) -> list[float]:
    return [construction.rate(training, steps)(step) for step in range(steps)]


def yields(work: Task, construction: SWE) -> list[Ensemble]:
    return [Ensemble(copy(e.vertices), e.coords, e.edges) for e in construction.grow(work)]


def plain_run(work: Task, rate: LearningRate, until: int) -> State:
    """Training from scratch to `until`, at other rates than the schedule's."""
    return follow(work, alone(work, 0), rate, until)


def follow(work: Task, state: State, rate: LearningRate, until: int) -> State:
    *_, last = train(
        work.network,
        work.data,
        state,
        training=work.stages.training,
        seed=0,
        members=[0],
        until=until,
        meter=Meter(),
        rate=rate,
    )
    return last


# The learning rate.


@pytest.mark.parametrize("warmup", [0.0, 0.05])
def test_constant_rate_is_peak_then_a_line_then_constant(warmup: float) -> None:
    found = rates(SWE(start=0.5, swe_lr=0.02), Training(lr=0.1, warmup=warmup), 40)
    rise = [0.1 * min(1, (step + 1) / (40 * warmup + 1)) for step in range(10)]
    line = [0.1 + (0.02 - 0.1) * (step - 10) / 10 for step in range(10, 20)]
    assert found == pytest.approx([*rise, *line, *[0.02] * 20])


def test_snapshots_from_the_beginning_have_one_rate() -> None:
    assert set(rates(SWE(start=0.0, swe_lr=0.02), Training(), 40)) == {0.02}


@pytest.mark.parametrize(("members", "spacing"), [(2, 10), (4, 5), (10, 2)])
def test_cycles_are_triangles_lowest_at_snapshots(members: int, spacing: int) -> None:
    construction = SWE(members=members, start=0.5, swe_lr=0.02, rates="cyclical")
    found = rates(construction, Training(), 40)
    assert found[:20] == rates(SWE(start=0.5, swe_lr=0.02), Training(), 40)[:20]
    for begin in range(20, 40, spacing):
        cycle = found[begin : begin + spacing]
        # The n-th step of a cycle, from 1, is 2n/spacing of the way up, or 2 − 2n/spacing of it.
        ways = [min(2 * n / spacing, 2 - 2 * n / spacing) for n in range(1, spacing + 1)]
        assert cycle == pytest.approx([0.002 + 0.018 * way for way in ways])
        if spacing % 2 == 0:
            assert cycle[spacing // 2 - 1] == max(found[20:]) == pytest.approx(0.02)
    for snapshot in construction.snapshots(40):
        assert found[snapshot - 1] == min(found[20:]) == pytest.approx(0.002)


# The steps.


@pytest.mark.parametrize(
    ("fields", "steps", "expected"),
    [
        ({"members": 4, "start": 0.5}, 40, [25, 30, 35, 40]),
        ({"members": 3, "start": 0.5}, 15, [10, 12, 14]),
        ({"members": 3, "start": 0.5, "spacing": 1}, 15, [9, 10, 11]),
        ({"members": 1, "start": 0.9}, 100, [100]),
        ({"members": 5, "start": 0.0}, 5, [1, 2, 3, 4, 5]),
    ],
)
def test_snapshots_are_spread_over_what_is_left(fields: dict[str, float], steps: int, expected: list[int]) -> None:
    assert SWE(**fields).snapshots(steps) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (
            {"members": 4, "start": 0.9},
            "members=4, start=0.9, spacing=None: expected room for 4 snapshots after step 14",
        ),
        ({"members": 1, "start": 1.0}, "expected room for 1 snapshots after step 15 of 15"),
        ({"members": 3, "start": 0.4, "spacing": 4}, "spacing=4: expected room for 3 snapshots after step 6 of 15"),
    ],
)
def test_no_room_for_snapshots_is_an_error(fields: dict[str, float], words: str, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    with pytest.raises(UsageError, match=words):
        next(SWE(**fields).grow(work))  # type: ignore[arg-type]
    assert spent(work.meter) == (0, 0, 0)


def test_it_yields_at_epochs_and_snapshots_and_ends_with_the_last(tmp_path: Path, cache: Path) -> None:
    # Step 10 is both. The network itself stands in until there is a snapshot.
    work = task(tmp_path, cache)
    found = yields(work, SWE(members=3, start=0.5))
    assert [len(ensemble.coords) for ensemble in found] == [1, 1, 2, 3]  # after steps 5, 10, 12, 14
    assert [ensemble.edges for ensemble in found] == [(), (), ((0, 1),), ((0, 1), (1, 2))]
    assert spent(work.meter) == (14, 0, 0)
    assert found[0].vertices.keys() == found[-1].vertices.keys()


# The snapshots.


@pytest.mark.parametrize("choice", ["constant", "cyclical"])
@pytest.mark.parametrize("kind", ["mlp", "batch"])
def test_snapshots_are_the_plain_run_at_their_steps(kind: str, choice: str, tmp_path: Path, cache: Path) -> None:
    work, construction = task(tmp_path, cache, **MODELS[kind]), SWE(**FIELDS, rates=choice)  # type: ignore[arg-type]
    found = yields(work, construction)
    rate = construction.rate(work.stages.training, STEPS)
    steps = [9, 12, 15]
    assert construction.snapshots(STEPS) == steps
    # BatchNorm's buffers and counters too: each snapshot keeps its own.
    for k, step in enumerate(steps):
        assert same(stack.network_at(found[-1].vertices, k), stack.network_at(plain_run(work, rate, step).thetas, 0)), (
            step
        )
    if kind == "batch":
        assert found[-1].vertices["norm.num_batches_tracked"].tolist() == steps
    # Yields after steps 5, 9, 10, 12, 15: what was kept stays as it was, and nothing is kept twice.
    assert [len(ensemble.coords) for ensemble in found] == [1, 1, 1, 2, 3]
    for ensemble in found[1:]:
        size = len(ensemble.coords)
        assert same(ensemble.vertices, {name: tensor[:size] for name, tensor in found[-1].vertices.items()})
    first, *others = stack.iterate_networks(found[-1].vertices)
    assert not any(same(first, other) for other in others)


@pytest.mark.parametrize("kind", ["mlp", "batch"])
def test_annealed_snapshots_leave_the_run_untouched(kind: str, tmp_path: Path, cache: Path) -> None:
    construction, plain = SWE(**FIELDS, anneal=4), SWE(**FIELDS)  # type: ignore[arg-type]
    work = task(tmp_path, cache, **MODELS[kind])
    found = grown(work, construction).vertices
    assert spent(work.meter) == (15 + 3 * 4, 0, 0)
    rate = plain.rate(work.stages.training, STEPS)
    for k, step in enumerate((9, 12, 15)):
        before = plain_run(work, rate, step)
        # From the rate that the run has there to 0, in four steps; the last goes beyond the budget.
        decay = {step + n: rate(step) * (3 - n) / 4 for n in range(4)}
        assert same(
            stack.network_at(found, k), stack.network_at(follow(work, before, decay.__getitem__, step + 4).thetas, 0)
        ), step


def test_the_run_goes_on_as_if_nothing_was_annealed(tmp_path: Path, cache: Path) -> None:
    kept = []
    for anneal in (0, 4):
        scratch = tmp_path / f"anneal-{anneal}"
        work = task(tmp_path, cache, **MODELS["batch"])
        work.scratch = scratch
        grown(work, SWE(**FIELDS, anneal=anneal))  # type: ignore[arg-type]
        kept.append(stages.load_state(scratch / "state.safetensors"))
    first, second = kept
    assert first is not None
    assert second is not None
    assert first.step == second.step == 12
    assert same(first.thetas, second.thetas)
    assert first.slots.keys() == second.slots.keys() == {"momentum", "snapshot 000", "snapshot 001"}
    assert same(first.slots["momentum"], second.slots["momentum"])
    assert not same(first.slots["snapshot 001"], second.slots["snapshot 001"])


def test_a_decay_is_linear_and_leaves_its_start_alone(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    state = advance(work, alone(work, 0), 7)
    before = state.map(torch.clone)
    end = work.decay(state, 5, 0.3)
    assert same(state.thetas, before.thetas)
    assert (state.step, end.step) == (7, 12)
    by_hand = follow(work, before, [*[0.0] * 7, 0.24, 0.18, 0.12, 0.06, 0.0].__getitem__, 12)
    torch.testing.assert_close(end.thetas, by_hand.thetas, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_a_run_cut_off_after_any_yield_keeps_its_snapshots(stop: int, tmp_path: Path, cache: Path) -> None:
    changes = MODELS["batch"] | {"optimizer": "adamw", "lr": 0.01}
    construction = SWE(**FIELDS, anneal=2, rates="cyclical")  # type: ignore[arg-type]
    whole = task(tmp_path, cache, **changes)
    expected = grown(whole, construction).vertices
    first, second = (task(tmp_path, cache, **changes) for _ in range(2))
    first.scratch = second.scratch = tmp_path / "scratch"
    growing = construction.grow(first)
    for _ in range(stop + 1):  # a state is on disk when the next is asked for
        next(growing)
    growing.close()  # type: ignore[attr-defined]
    assert same(grown(second, construction).vertices, expected)
    assert spent(second.meter) == spent(whole.meter) == (15 + 3 * 2, 0, 0)
