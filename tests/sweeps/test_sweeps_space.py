"""What is searched comes from the fields; a study changes by name; a configuration depends on seed and number alone."""

import math
from pathlib import Path

import optuna
import pytest
from tiny_sweep import study

from basin.constructions import constructions
from basin.errors import UsageError
from basin.spec import describe
from sweeps.samplers import IndexedSampler, Uniform, sampler
from sweeps.search import open_study
from sweeps.space import Space, varying_names
from sweeps.studies import STUDIES, build
from sweeps.study import Study


def points(space: Space, count: int, seed: int = 0) -> list[dict[str, object]]:
    """The first configurations of a study in memory."""
    drawn = optuna.create_study(sampler=IndexedSampler(Uniform(seed)), directions=["maximize"] * 2)
    return [space.draw(drawn.ask()) for _ in range(count)]


def test_ranges_come_from_the_fields() -> None:
    drawn = optuna.create_study(sampler=IndexedSampler(Uniform(0)), directions=["maximize"] * 2)
    space = build("quickstart", None).space
    seen = set()
    for _ in range(30):
        trial = drawn.ask()
        point = space.draw(trial)
        found = {f.name: f for f in describe(constructions.entry(str(point["construction"]))[0])}
        for name, distribution in trial.distributions.items():
            if name == "construction":
                continue
            search = found[name].search
            assert search is not None
            assert isinstance(distribution, optuna.distributions.FloatDistribution)
            assert (distribution.low, distribution.high, distribution.log) == (search.low, search.high, search.log)
        assert point.keys() - {"construction"} == {f.name for f in space.fields(str(point["construction"]))}
        seen.add(point["construction"])
    assert seen == {"constrained", "distilled"}


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_every_point_of_every_study_is_a_trial_of_its_own(name: str) -> None:
    chosen = build(name, None)
    assert chosen.trials or chosen.grid
    drawn = points(chosen.space, 20) if chosen.trials else []
    owed = [changes for _, changes in chosen.owed(range(2))]
    assert len(owed) == 2 * (len(chosen.grid) + len(chosen.references))
    keys = {chosen.trial(point).key for point in [*drawn, *owed]}
    assert len(keys) == len(drawn) + len(owed)


def test_a_field_that_is_set_is_no_longer_searched() -> None:
    chosen = study(beta="3")
    for point in points(chosen.space, 10):
        assert "beta" not in point
        assert chosen.trial(point).flat()["beta"] == 3.0
    assert "t" in points(chosen.space, 1)[0]


def test_a_construction_that_is_set_is_the_only_one() -> None:
    chosen = study(construction="distilled", temperature="4")
    for point in points(chosen.space, 5):
        assert point["construction"] == "distilled"
        assert point.keys() == {"construction", "t", "beta", "weight"}
        assert chosen.trial(point).flat()["temperature"] == 4.0


def test_a_field_of_some_constructions_is_set_for_those() -> None:
    chosen = study(temperature="4")
    assert "temperature" not in chosen.trial({"construction": "constrained"}).flat()
    assert chosen.trial({"construction": "distilled"}).flat()["temperature"] == 4.0


def test_base_fields_reach_every_trial() -> None:
    chosen = study(lr="0.01", members="3")
    for construction in ("constrained", "distilled", "deep"):
        flat = chosen.trial({"construction": construction, "seed": 4}).flat()
        assert (flat["lr"], flat["members"], flat["epochs"], flat["seed"]) == (0.01, 3, 2, 4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epoch": "3"}, r"unknown field 'epoch': expected one of .*beta.*device.*epochs"),
        ({"construction": "swa"}, "unknown construction 'swa': expected one of constrained, deep, distilled"),
        ({"construction": "constrained", "temperature": "2"}, "unknown field 'temperature'"),
        ({"width": "0.5", "model": "mlp"}, "unknown field 'width': expected one of .*hidden"),
        ({"dataset": "nope"}, "unknown dataset 'nope': expected one of .*digits"),
        ({"model": "nope"}, "unknown model 'nope': expected one of .*resnet8"),
        ({"beta": "-1"}, "beta=-1: expected a number of 0 or more"),
        ({"epochs": "0"}, "epochs=0: expected an integer of 1 or more"),
        ({"epochs": "two"}, "epochs=two: expected an integer of 1 or more"),
        ({"alphas": "4"}, "alphas=4: expected an odd number"),
        ({"members": "1"}, "members=1: expected an integer of 2 or more"),
        ({"seed": "3"}, "--set seed=3: give --seed"),
    ],
)
def test_changes_that_mean_nothing_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build("quickstart", None).set(changes)


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown study 'quick': expected one of .*cifar10-small.*quickstart"):
        build("quick", None)
    with pytest.raises(UsageError, match="unknown sampler 'grd': expected one of gp, grid, nsga2, random, tpe"):
        sampler("grd", 0, study().space)


def test_farthest_needs_as_much_as_any_point() -> None:
    chosen = study(t="0.3")
    steps = 40
    most: dict[int, int] = {}
    for point in chosen.space.farthest():
        for member, step in chosen.trial(point).construction.needs(steps).items():
            most[member] = max(step, most.get(member, 0))
    for space in (chosen.space, study().space):
        for point in points(space, 30):
            if space is chosen.space:
                for member, step in chosen.trial(point).construction.needs(steps).items():
                    assert step <= most[member]
    trunk = study(construction="constrained")
    (far,) = trunk.space.farthest()
    assert trunk.trial(far).construction.needs(steps) == {0: 20}  # t ≤ 0.5


def test_a_configuration_depends_on_seed_and_number_alone(tmp_path: Path) -> None:
    chosen = study()
    whole = points(chosen.space, 8)
    again: list[dict[str, object]] = []
    for _ in range(4):  # a new process's worth of searcher each time, two configurations from each
        drawn = open_study(tmp_path / "optuna.journal", chosen, 0)
        for _ in range(2):
            trial = drawn.ask()
            again.append(chosen.space.draw(trial))
            if trial.number % 2:
                drawn.tell(trial, [float(trial.number), 0.0])  # what is told changes nothing
    assert again == whole
    assert points(chosen.space, 8, seed=1) != whole
    assert len({str(point) for point in whole}) == 8


def test_draws_are_uniform_on_the_scale_of_the_field() -> None:
    space = study(construction="constrained").space
    drawn = points(space, 400)
    for varying in space.fields("constrained"):
        assert varying.search is not None
        scale = math.log if varying.search.log else float
        low, high = scale(varying.search.low), scale(varying.search.high)
        places = [(scale(float(str(point[varying.name]))) - low) / (high - low) for point in drawn]
        shares = [sum(quarter / 4 <= place < (quarter + 1) / 4 for place in places) / 400 for quarter in range(4)]
        assert all(0.17 < share < 0.33 for share in shares), shares  # ± 3.7 standard deviations around ¼


def test_a_field_that_is_set_holds_in_a_grid_too() -> None:
    grid = build("ensemble-size", None)
    assert {grid.trial(changes).flat()["members"] for _, changes in grid.owed([0])} == set(range(1, 9))
    pinned = grid.set({"members": "3"})
    assert {pinned.trial(changes).flat()["members"] for _, changes in pinned.owed([0])} == {3}
    kinds = build("paper", None).set({"construction": "deep"}).grid
    assert {point["construction"] for point in kinds} == {"deep"}


def test_a_grid_keeps_the_points_of_the_model_that_is_set() -> None:
    def found(**changes: object) -> set[tuple[object, ...]]:
        chosen = build("paper", None).set(changes)
        flats = [chosen.trial(point).flat() for _, point in chosen.owed([0])]
        assert len(flats) == len({flat["construction"] for flat in flats}) == 5
        return {(flat["model"], flat["optimizer"], flat["lr"], flat.get("dim")) for flat in flats}

    assert found(model="vit") == {("vit", "adamw", 1e-3, 32)}
    assert found(model="vit", dim="8", heads="2") == {("vit", "adamw", 1e-3, 8)}
    assert found(model="resnet20") == {("resnet20", "sgd", 0.1, None)}


def test_a_grid_says_what_varies() -> None:
    varied = {name: build(name, None).varied() for name in STUDIES if build(name, None).grid}
    assert varied == {
        "alignment": ["construction", "width", "matching"],
        "architectures": ["construction", "norm", "model"],
        "constraint": ["t", "beta", "constraint"],
        "ensemble-size": ["members"],
        "paper": ["construction", "model"],
        "temperature": ["temperature", "weight"],
        "time-parameter": ["t", "beta"],
        "tradeoff": ["beta", "temperature"],
    }


@pytest.mark.parametrize(
    ("name", "dataset"),
    [
        ("cifar-10-python.tar.gz", "cifar10"),
        ("cifar-100-python.tar.gz", "cifar100"),
        ("tiny-imagenet-200.zip", "tiny-imagenet"),
        ("fashion-mnist", "fashion-mnist"),
        ("cifar10-jpeg.tar.xz", "imagefolder"),
        ("mine", "imagefolder"),
    ],
)
def test_a_study_takes_the_dataset_that_the_data_are_named_like(name: str, dataset: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    for study_name in STUDIES.keys() - {"quickstart"}:
        assert build(study_name, tmp_path / name).base.flat()["dataset"] == dataset
    (tmp_path / name / "cifar-10-batches-py").mkdir()
    assert build("paper", tmp_path / name).base.flat()["dataset"] == "cifar10"


def test_names_that_vary() -> None:
    params = [{"t": "0.1", "beta": "1", "lr": "1"}, {"t": "0.1", "beta": "2", "lr": "2", "weight": "1"}]
    assert varying_names(params) == ["beta", "weight"]


def test_sizes() -> None:
    chosen: Study = build("quickstart", None)
    assert (chosen.trials, chosen.sampler) == (24, "tpe")
    assert (chosen.sized(5, None).trials, chosen.sized(None, "random").sampler) == (5, "random")
    assert chosen.sized(None, None) == chosen
    assert all(objective.startswith("val_") for objective in chosen.objectives)
