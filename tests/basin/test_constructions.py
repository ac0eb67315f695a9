"""One contract for every registered construction, on every kind of network; then what each must be equal to."""

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.nn.functional import kl_div

from basin import stack
from basin.constructions import Construction, constructions
from basin.ensemble import Ensemble, all_pairs
from basin.spec import describe_fields
from basin.task import Task
from basin.training.loop import State
from tests.support.tiny_trial import MODELS, copy, grown, same, spent, task, trial

EPOCHS, STEPS = 3, 15


def make(name: str, **fields: object) -> Construction:
    """The construction with three members; `fields` it does not know are left out."""
    cls, _ = constructions.entry(name)
    wanted = {"members": 3} | fields
    known = {field.name for field in describe_fields(cls)}
    return constructions.make(name, **{key: value for key, value in wanted.items() if key in known})


def prepared(work: Task, construction: Construction) -> None:
    """Train the stages that the construction says it needs."""
    for member, step in construction.needs(work.stages.steps).items():
        work.stages.state(member, step)


def snapshot(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def copies(work: Task, construction: Construction) -> list[Ensemble]:
    """Every ensemble it grows, as it was when it was yielded."""
    return [Ensemble(copy(e.vertices), e.coords.clone(), e.edges) for e in construction.grow(work)]


def cut_off(first: Task, second: Task, construction: Construction, stop: int, scratch: Path) -> Ensemble:
    """What a second process grows after a first was cut off behind `stop` yields, or at its end."""
    first.scratch = second.scratch = scratch
    growing = construction.grow(first)
    for _ in range(stop + 1):  # a state is on disk when the next is asked for
        next(growing, None)
    growing.close()  # type: ignore[attr-defined]
    return grown(second, construction)  # type: ignore[no-any-return]


# K = 3 members, T = 15 steps; branches after round(0.1 · 15) = 2 steps by default, snapshots after 10, 12 and 14.
COSTS = {
    "deep": (3 * 15, 0, 0),
    "permuted": (3 * 15, 0, 0),
    "swe": (14, 0, 0),
    "constrained": (2 + 4 * 13, 0, 0),
    "distilled": (2 + 4 * 13, 3 * 15, 3 * 5),  # images without augmentation: a teacher sees each once
}


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("name", list(constructions))
def test_contract(name: str, kind: str, tmp_path: Path, cache: Path) -> None:
    work, construction = task(tmp_path, cache, **MODELS[kind]), make(name)
    prepared(work, construction)
    before = snapshot(tmp_path)
    ensembles = copies(work, construction)
    assert snapshot(tmp_path) == before, "stages beyond `needs` were trained"
    for ensemble in ensembles:
        vertices = stack.count_networks(ensemble.vertices)
        assert ensemble.vertices.keys() == work.network.init(0).keys()
        assert ensemble.coords.shape[1] == vertices
        torch.testing.assert_close(
            ensemble.coords.sum(dim=1), torch.ones(len(ensemble.coords), dtype=ensemble.coords.dtype)
        )
        assert all(0 <= i < j < vertices for i, j in ensemble.edges)
        assert all(bool(tensor.isfinite().all()) for tensor in ensemble.vertices.values())
    assert len(ensembles[-1].coords) == construction.members == 3
    assert spent(work.meter) == COSTS[name]
    assert construction.spends(STEPS).passes == work.meter.passes, "`spends` is not what it took"
    again = task(tmp_path, cache, **MODELS[kind])
    assert same(grown(again, make(name)).vertices, ensembles[-1].vertices), "not a function of the seed"
    assert spent(again.meter) == COSTS[name]
    first, second = task(tmp_path, cache, **MODELS[kind]), task(tmp_path, cache, **MODELS[kind])
    resumed = cut_off(first, second, construction, 2, tmp_path / "scratch")
    assert same(resumed.vertices, ensembles[-1].vertices), "not what it was without a stop"
    assert spent(second.meter) == COSTS[name]


VARIANTS: dict[str, tuple[str, dict[str, object]]] = {
    "matching": ("constrained", {"constraint": "matching", "draws": 2}),
    "star": ("constrained", {"constraint": "star"}),
    "simplex": ("constrained", {"constraint": "simplex"}),
    "proximal": ("constrained", {"constraint": "proximal"}),
    "draws": ("constrained", {"draws": 3}),
    "subspace": ("constrained", {"t": 0.0, "share_init": False, "orthogonality": 0.5, "constraint": "simplex"}),
    "restarted": ("constrained", {"t": 0.3, "restart_schedule": True}),
    "pulled": ("constrained", {"t": 0.3, "restart_schedule": True, "constraint": "proximal", "beta": 2.0}),
    "pulled students": ("distilled", {"constraint": "proximal", "beta": 2.0}),
    "annealed": ("swe", {"anneal": 3, "spacing": 2}),
    "cyclical": ("swe", {"rates": "cyclical"}),
    "mixup": ("distilled", {"inputs": "mixup", "mixup_alpha": 0.4}),
    "ensemble": ("distilled", {"inputs": "mixup", "teacher": "ensemble", "constraint": "star"}),
}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_cut_off_anywhere_ends_the_same(variant: str, optimizer: str, tmp_path: Path, cache: Path) -> None:
    changes: dict[str, object] = {"optimizer": optimizer, "lr": 0.01} | (MODELS["batch"] if variant == "mixup" else {})
    name, fields = VARIANTS[variant]
    construction, work = make(name, **fields), task(tmp_path, cache, **changes)
    ensembles = copies(work, construction)
    assert construction.spends(STEPS).passes == work.meter.passes
    for stop in range(1, len(ensembles)):
        first, second = task(tmp_path, cache, **changes), task(tmp_path, cache, **changes)
        resumed = cut_off(first, second, construction, stop, tmp_path / f"scratch-{stop}")
        assert same(resumed.vertices, ensembles[-1].vertices), stop
        assert spent(second.meter) == spent(work.meter), stop


class Watched(Task):
    """A task that notes the passes of stages that are counted as its own."""

    shared = 0

    def single(self, member: int) -> State:
        self.shared += self.stages.steps
        return super().single(member)

    def trunk(self, t: float) -> State:
        self.shared += round(t * self.stages.steps)
        return super().trunk(t)


EACH = {name: (name, {}) for name in constructions} | VARIANTS


@pytest.mark.parametrize("variant", EACH)
@pytest.mark.parametrize("t", [None, 0.4])
def test_what_is_spent_is_known_before(variant: str, t: float | None, tmp_path: Path, cache: Path) -> None:
    name, fields = EACH[variant]
    if t is not None and "share_init" not in fields:
        fields = {**fields, "t": t}
    construction, plain = make(name, **fields), task(tmp_path, cache)
    work = Watched(plain.network, plain.data, plain.stages)
    grown(work, construction)
    spends = construction.spends(STEPS)
    assert (spends.trained, spends.shared) == (work.meter.passes - work.shared, work.shared)
    assert spends.shared <= sum(construction.needs(STEPS).values())


@pytest.mark.parametrize("name", list(constructions))
def test_what_is_needed_is_within_the_budget(name: str) -> None:
    for t in (0.0, 0.1, 0.5, 1.0):
        for steps in (1, 15, 1000):
            assert all(0 <= step <= steps for step in make(name, t=t).needs(steps).values())


@pytest.mark.parametrize("name", list(constructions))
def test_members_differ(name: str, tmp_path: Path, cache: Path) -> None:
    members = grown(task(tmp_path, cache), make(name, t=0.2)).members()
    assert len({tuple(row.tolist()) for row in stack.flatten_weights(members, ["1.0.weight"])}) == 3


@pytest.mark.parametrize("name", ["constrained", "distilled"])
@pytest.mark.parametrize(("t", "epochs"), [(0.0, 3), (0.1, 3), (1 / 3, 2), (0.5, 2), (0.9, 1), (1.0, 1)])
def test_branches_yield_after_each_epoch(name: str, t: float, epochs: int, tmp_path: Path, cache: Path) -> None:
    ensembles = copies(task(tmp_path, cache), make(name, t=t))
    assert len(ensembles) == epochs
    assert all(ensemble.edges == all_pairs(3) for ensemble in ensembles)
    for first, second in pairwise(ensembles):
        assert not same(first.vertices, second.vertices)


# What each one costs: K networks, T steps, tT of them in the trunk.


@pytest.mark.parametrize("members", [1, 2, 4])
def test_passes_of_the_deep_ensemble(members: int, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    grown(work, make("deep", members=members))
    assert spent(work.meter) == (members * STEPS, 0, 0)


@pytest.mark.parametrize(("t", "trunk"), [(0.0, 0), (0.1, 2), (0.25, 4), (0.5, 8), (1.0, 15)])
@pytest.mark.parametrize(
    ("beta", "constraint", "extra"),
    [
        (0.0, "path", 0),
        (0.0, "matching", 0),
        (0.5, "path", 1),
        (0.5, "matching", 1),
        (0.5, "star", 1),
        (0.5, "simplex", 1),
        (0.5, "proximal", 0),
    ],
)
def test_passes_of_branches(
    t: float, trunk: int, beta: float, constraint: str, extra: int, tmp_path: Path, cache: Path
) -> None:
    work = task(tmp_path, cache)
    grown(work, make("constrained", t=t, beta=beta, constraint=constraint))
    assert spent(work.meter) == (trunk + (3 + extra) * (STEPS - trunk), 0, 0)


@pytest.mark.parametrize("name", ["constrained", "distilled"])
def test_passes_of_several_draws(name: str, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    grown(work, make(name, t=0.2, draws=4))
    assert work.meter.passes == 3 + (3 + 4) * 12


def test_passes_of_subspace_training(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    grown(work, make("constrained", t=0.0, share_init=False, orthogonality=1.0))
    assert spent(work.meter) == (4 * STEPS, 0, 0)


@pytest.mark.parametrize("anneal", [0, 1, 4])
def test_passes_of_snapshots(anneal: int, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    grown(work, make("swe", start=0.2, spacing=3, anneal=anneal))  # after steps 6, 9, 12
    assert spent(work.meter) == (12 + 3 * anneal, 0, 0)


def test_passes_of_students(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, augment="crop")
    grown(work, make("distilled", t=0.5, beta=0.0))
    assert spent(work.meter) == (8 + 3 * 7, 3 * STEPS, 3 * 7)
    work = task(tmp_path, cache, augment="crop")
    grown(work, make("distilled", t=0.5, beta=0.5, constraint="path"))
    # The mixed network sees the batch of one end: only the other end's teacher is asked anew.
    assert spent(work.meter) == (8 + 4 * 7, 3 * STEPS, 4 * 7)
    work = task(tmp_path, cache, augment="crop")
    grown(work, make("distilled", t=0.5, beta=0.5, constraint="simplex"))
    # Here it learns from all three teachers.
    assert spent(work.meter) == (8 + 4 * 7, 3 * STEPS, 5 * 7)


def test_passes_do_not_depend_on_what_others_trained(tmp_path: Path, cache: Path) -> None:
    first, second = task(tmp_path, cache), task(tmp_path, cache)
    for work in (first, second):
        grown(work, make("distilled"))
    assert spent(first.meter) == spent(second.meter)


# What each one must be equal to.


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("t", [0.0, 0.1, 0.5])
def test_a_free_branch_with_the_trunk_s_data_is_the_trunk(kind: str, t: float, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS[kind])
    branches = grown(work, make("constrained", t=t, beta=0.0)).vertices
    assert same(stack.network_at(branches, 0), stack.network_at(work.stages.state(0).thetas, 0))
    assert not same(stack.network_at(branches, 1), stack.network_at(branches, 0))


@pytest.mark.parametrize("kind", ["mlp", "batch"])
@pytest.mark.parametrize("name", ["constrained", "distilled"])
def test_with_t_one_there_is_one_network(name: str, kind: str, tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, **MODELS[kind])
    branches = grown(work, make(name, t=1.0)).vertices
    single = stack.network_at(work.stages.state(0).thetas, 0)
    assert [same(row, single) for row in stack.iterate_networks(branches)] == [True] * 3


def test_a_smaller_deep_ensemble_is_the_beginning_of_a_larger(tmp_path: Path, cache: Path) -> None:
    two = grown(task(tmp_path / "a", cache), make("deep", members=2)).vertices
    four = grown(task(tmp_path / "b", cache), make("deep", members=4)).vertices
    assert same({name: tensor[:2] for name, tensor in four.items()}, two)


def test_a_deep_ensemble_grows_by_its_members(tmp_path: Path, cache: Path) -> None:
    ensembles = copies(task(tmp_path, cache), make("deep", members=3))
    assert [len(ensemble.coords) for ensemble in ensembles] == [1, 2, 3]
    assert same(stack.network_at(ensembles[2].vertices, 0), stack.network_at(ensembles[0].vertices, 0))


@pytest.mark.parametrize("constraint", ["path", "proximal"])
def test_the_constraint_pulls_the_branches_together(constraint: str, tmp_path: Path, cache: Path) -> None:
    def spread(beta: float) -> float:
        branches = grown(task(tmp_path, cache, lr=0.02), make("constrained", t=0.1, beta=beta, constraint=constraint))
        return float((branches.vertices["1.0.weight"] - branches.vertices["1.0.weight"].mean(dim=0)).norm())

    if constraint == "proximal":
        assert spread(3.0) < 0.7 * spread(0.0)
    else:
        assert spread(1.0) != spread(0.0)


def test_students_come_nearer_to_their_own_teachers(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, epochs=8)
    students = grown(work, make("distilled", t=0.1, beta=0.0, weight=1.0)).vertices
    branches = grown(work, make("constrained", t=0.1, beta=0.0)).vertices
    pixels = work.data.normalise(work.data.train.take(torch.arange(100))[0])

    @torch.no_grad()
    def distance(thetas: stack.Stack, k: int) -> float:
        student, teacher = stack.network_at(thetas, k), stack.network_at(work.stages.state(k).thetas, 0)
        logits, target = work.network(student, pixels), work.network(teacher, pixels).softmax(1)
        return float(kl_div(logits.log_softmax(1), target, reduction="batchmean"))

    # Branch 0 is its own teacher.
    assert all(distance(students, k) < distance(branches, k) for k in (1, 2))


def test_another_seed_is_another_ensemble(tmp_path: Path, cache: Path) -> None:
    for name in constructions:
        first = grown(task(tmp_path, cache), make(name)).vertices
        second = grown(task(tmp_path, cache, seed=1), make(name)).vertices
        assert not torch.equal(first["1.0.weight"], second["1.0.weight"])


def test_fields_of_all_sections_have_different_names() -> None:
    from basin.trial import REGISTRIES, SECTIONS

    base = trial()
    owners: dict[str, str] = {"seed": "trial", "data_hash": "trial", "ood_hash": "trial"} | dict.fromkeys(
        REGISTRIES, "trial"
    )
    for section in SECTIONS:
        classes = REGISTRIES[section].classes() if section in REGISTRIES else [type(getattr(base, section))]
        for name in {field.name for cls in classes for field in describe_fields(cls)}:
            assert owners.setdefault(name, section) == section, name
