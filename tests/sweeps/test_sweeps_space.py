"""What is searched comes from the fields; a study changes by name; a configuration depends on seed and number alone."""

from pathlib import Path

import optuna
import pytest
from tiny_sweep import study

from basin.constructions import constructions
from basin.errors import UsageError
from basin.spec import describe
from sweeps.search import open_study
from sweeps.space import IndexedSampler, Space, sampler, varying_names
from sweeps.studies import STUDIES, Study, build


def points(space: Space, count: int, seed: int = 0) -> list[dict[str, object]]:
    """The first configurations of a study in memory."""
    drawn = optuna.create_study(sampler=IndexedSampler(seed), directions=["maximize"] * 2)
    return [space.draw(drawn.ask()) for _ in range(count)]


def test_ranges_come_from_the_fields() -> None:
    drawn = optuna.create_study(sampler=IndexedSampler(0), directions=["maximize"] * 2)
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
def test_every_point_of_every_study_is_a_trial(name: str) -> None:
    chosen = build(name, None)
    assert all(chosen.space.fields(construction) for construction in chosen.space.constructions)
    keys = {chosen.trial(point).key for point in points(chosen.space, 20)}
    assert len(keys) == 20
    for reference in chosen.references:
        assert chosen.trial(reference).key not in keys


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
        ({"dataset": "nope"}, "unknown dataset 'nope': expected one of .*digits"),
        ({"model": "nope"}, "unknown model 'nope': expected one of .*resnet8"),
        ({"beta": "-1"}, "beta=-1: expected a number of 0 or more"),
        ({"epochs": "0"}, "epochs=0: expected an integer of 1 or more"),
        ({"epochs": "two"}, "epochs=two: expected an integer of 1 or more"),
        ({"alphas": "4"}, "alphas=4: expected an odd number"),
        ({"members": "1"}, "members=1: expected an integer of 2 or more"),
        ({"seed": "3"}, "--seed"),
    ],
)
def test_changes_that_mean_nothing_are_refused(changes: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        build("quickstart", None).set(changes)


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown study 'quick': expected one of cifar10-small, quickstart"):
        build("quick", None)
    with pytest.raises(UsageError, match="unknown sampler 'grid': expected one of nsga2, random, tpe"):
        sampler("grid", 0)


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


def test_draws_are_uniform() -> None:
    drawn = points(study(construction="constrained").space, 400)
    shares = [sum(low <= float(str(p["t"])) < low + 0.12 for p in drawn) / 400 for low in (0.02, 0.14, 0.26, 0.38)]
    assert all(0.17 < share < 0.33 for share in shares), shares  # ± 3.7 standard deviations around ¼
    assert 0.4 < sum(float(str(p["beta"])) < 10**-0.5 for p in drawn) / 400 < 0.6  # the middle of a logarithmic range


def test_names_that_vary() -> None:
    params = [{"t": "0.1", "beta": "1", "lr": "1"}, {"t": "0.1", "beta": "2", "lr": "2", "weight": "1"}]
    assert varying_names(params) == ["beta", "weight"]


def test_sizes() -> None:
    chosen: Study = build("quickstart", None)
    assert (chosen.trials, chosen.sampler) == (24, "tpe")
    assert (chosen.sized(5, None).trials, chosen.sized(None, "random").sampler) == (5, "random")
    assert chosen.sized(None, None) == chosen
    assert all(objective.startswith("val_") for objective in chosen.objectives)
