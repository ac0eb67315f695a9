"""What is searched comes from the fields; a study changes by name; a configuration depends on seed and number alone."""

import math
from pathlib import Path

import optuna
import pytest

from basin.constructions import constructions
from basin.errors import UsageError
from basin.spec import describe_fields
from basin.training.loop import Training
from sweeps.search.indexed import IndexedSampler, Uniform, axis_values, grid_point
from sweeps.search.journal import open_study
from sweeps.search.samplers import make_sampler
from sweeps.study.catalog import STUDIES, build
from sweeps.study.space import Space, field_distribution
from sweeps.study.study import Study
from tests.support.tiny_sweep import study


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
        found = {f.name: f for f in describe_fields(constructions.entry(str(point["construction"]))[0])}
        for name, over in trial.distributions.items():
            if name == "construction":
                continue
            search = found[name].search
            assert search is not None
            assert isinstance(over, optuna.distributions.FloatDistribution)
            assert (over.low, over.high, over.log) == (search.low, search.high, search.log)
        assert point.keys() - {"construction"} == {f.name for f in space.fields(str(point["construction"]))}
        seen.add(point["construction"])
    assert seen == {"constrained", "distilled"}


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_every_point_of_every_study_is_a_trial_of_its_own(name: str) -> None:
    chosen = build(name, None)
    assert chosen.trials or chosen.grid
    drawn = points(chosen.space, 20) if chosen.trials else []
    owed = [job.changes for job in chosen.owed_jobs(range(2))]
    assert len(owed) == 2 * (len(chosen.grid) + len(chosen.references))
    keys = {chosen.resolve_trial(point).key for point in [*drawn, *owed]}
    assert len(keys) == len(drawn) + len(owed)


def test_a_field_that_is_set_is_no_longer_searched() -> None:
    chosen = study(beta="3")
    for point in points(chosen.space, 10):
        assert "beta" not in point
        assert chosen.resolve_trial(point).flat()["beta"] == 3.0
    assert "t" in points(chosen.space, 1)[0]


def test_a_construction_that_is_set_is_the_only_one() -> None:
    chosen = study(construction="distilled", temperature="4")
    for point in points(chosen.space, 5):
        assert point["construction"] == "distilled"
        assert point.keys() == {"construction", "t", "beta", "weight"}
        assert chosen.resolve_trial(point).flat()["temperature"] == 4.0


def test_a_field_of_some_constructions_is_set_for_those() -> None:
    chosen = study(temperature="4")
    assert "temperature" not in chosen.resolve_trial({"construction": "constrained"}).flat()
    assert chosen.resolve_trial({"construction": "distilled"}).flat()["temperature"] == 4.0


def test_choices_are_searched_where_they_are_asked_for() -> None:
    chosen = study(construction="constrained").search_also(["constraint"])
    (field,) = [f for f in chosen.space.fields("constrained") if f.name == "constraint"]
    drawn = [chosen.resolve_trial(point).flat()["constraint"] for point in points(chosen.space, 60)]
    assert set(drawn) == set(field.choices)
    assert {"path", "star", "simplex", "proximal"} <= set(drawn)
    assert field_distribution(field) == optuna.distributions.CategoricalDistribution(field.choices)
    far = chosen.space.farthest_points()
    assert {point["constraint"] for point in far} == set(field.choices)
    assert len(far) == len(field.choices)
    row = {**chosen.resolve_trial({"construction": "constrained", "t": 0.1, "beta": 1.0}).flat(), "constraint": "star"}
    assert chosen.space.point_of(row) == {"t": 0.1, "beta": 1.0, "constraint": "star"}
    assert chosen.space.point_of({**row, "constraint": "ring"}) is None
    assert chosen.space.point_of({**row, "constraint": None}) is None


def test_a_grid_sampler_takes_every_choice_at_every_point() -> None:
    space = Space(("constrained",), ("t", "constraint"))
    drawn = optuna.create_study(sampler=make_sampler("grid", 0, space))
    choices = next(f for f in space.fields("constrained") if f.name == "constraint").choices
    first = [space.draw(drawn.ask()) for _ in range(3 * len(choices))]
    assert {(point["t"], point["constraint"]) for point in first} == {
        (t, choice) for t in axis_values(space.fields("constrained")[0], 2) for choice in choices
    }
    only = Space(("constrained",), ("constraint",))  # no finer grid: it starts again
    again = [grid_point(only, "constrained", 0, index)["constraint"] for index in range(2 * len(choices))]
    assert again[: len(choices)] == again[len(choices) :]
    assert set(again) == set(choices)


def test_the_learning_rate_is_searched_where_it_is_asked_for() -> None:
    chosen = study().search_also(["lr"])
    search = next(f.search for f in describe_fields(Training) if f.name == "lr")
    assert search is not None
    rates = [chosen.resolve_trial(point).training.lr for point in points(chosen.space, 20)]
    assert all(search.low <= rate <= search.high for rate in rates)
    assert len(set(rates)) == 20
    recipes = {chosen.resolve_trial(point).recipe_key for point in points(chosen.space, 20)}
    assert len(recipes) == 20  # no two share a trunk
    assert chosen.resolve_trial({"construction": "deep"}).training.lr == study().base.training.lr
    assert chosen.space.farthest_points() == []
    assert "lr" not in points(chosen.with_settings({"lr": "0.2"}).space, 1)[0]  # set afterwards: no longer searched
    assert chosen.with_settings({"lr": "0.2"}).space.farthest_points()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            ["epoch"],
            "unknown field to search 'epoch': did you mean 'epochs'",
        ),
        (["precision"], "--search precision: the field has no search range of its own: give one"),
        (["optimizer"], "--search optimizer: the field has no search range of its own"),
        (["beta"], "--search beta: --set beta=… fixes this field: give one of the two"),
    ],
)
def test_fields_that_cannot_be_searched_are_refused(names: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        study(beta="3").search_also(names)


def test_a_study_without_a_search_searches_nothing_more() -> None:
    grid = build("paper", None)
    with pytest.raises(UsageError, match="--search lr: this study does not search: give --trials as well"):
        grid.search_also(["lr"])
    assert grid.search_also([]) == grid


def test_base_fields_reach_every_trial() -> None:
    chosen = study(lr="0.01", members="3")
    for construction in ("constrained", "distilled", "deep"):
        flat = chosen.resolve_trial({"construction": construction, "seed": 4}).flat()
        assert (flat["lr"], flat["members"], flat["epochs"], flat["seed"]) == (0.01, 3, 2, 4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epoch": "3"}, r"unknown field 'epoch': did you mean 'epochs'"),
        ({"construction": "swa"}, "unknown construction 'swa': did you mean 'swe'"),
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
        build("quickstart", None).with_settings(changes)


def test_unknown_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"unknown study 'quick': did you mean 'quickstart'"):
        build("quick", None)
    with pytest.raises(UsageError, match="unknown sampler 'grd': did you mean 'grid'"):
        make_sampler("grd", 0, study().space)


def test_farthest_needs_as_much_as_any_point() -> None:
    chosen = study(t="0.3")
    steps = 40
    most: dict[int, int] = {}
    for point in chosen.space.farthest_points():
        for member, step in chosen.resolve_trial(point).construction.needs(steps).items():
            most[member] = max(step, most.get(member, 0))
    for space in (chosen.space, study().space):
        for point in points(space, 30):
            if space is chosen.space:
                for member, step in chosen.resolve_trial(point).construction.needs(steps).items():
                    assert step <= most[member]
    trunk = study(construction="constrained")
    (far,) = trunk.space.farthest_points()
    assert trunk.resolve_trial(far).construction.needs(steps) == {0: 20}  # t ≤ 0.5


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
                drawn.tell(trial, float(trial.number))  # what is told changes nothing
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
    assert {job.trial.flat()["members"] for job in grid.owed_jobs([0])} == set(range(1, 9))
    pinned = grid.with_settings({"members": "3"})
    assert {job.trial.flat()["members"] for job in pinned.owed_jobs([0])} == {3}
    kinds = build("paper", None).with_settings({"construction": "deep"}).grid
    assert {point["construction"] for point in kinds} == {"deep"}


def test_a_grid_keeps_the_points_of_the_model_that_is_set() -> None:
    def found(**changes: object) -> set[tuple[object, ...]]:
        chosen = build("paper", None).with_settings(changes)
        flats = [job.trial.flat() for job in chosen.owed_jobs([0])]
        assert len(flats) == len({flat["construction"] for flat in flats}) == 5
        return {(flat["model"], flat["optimizer"], flat["lr"], flat.get("dim")) for flat in flats}

    assert found(model="vit") == {("vit", "adamw", 1e-3, 32)}
    assert found(model="vit", dim="8", heads="2") == {("vit", "adamw", 1e-3, 8)}
    assert found(model="resnet20") == {("resnet20", "sgd", 0.1, None)}


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


def test_references_are_the_study_s_or_those_that_are_named() -> None:
    chosen = build("quickstart", None)
    assert [reference["construction"] for reference in chosen.references] == ["deep", "swe", "permuted"]
    assert chosen.compared_with([]) == chosen
    assert chosen.compared_with(["swe"]).references == ({"construction": "swe"},)
    with pytest.raises(UsageError, match="unknown construction 'soup': expected one of"):
        chosen.compared_with(["soup"])


def test_the_plane_is_drawn_at_the_first_reported_seed() -> None:
    chosen = build("quickstart", None)
    owed = [job.changes for job in chosen.owed_jobs(chosen.reported_seeds(0))]
    assert {changes["seed"]: chosen.resolve_trial(changes).evaluation.plane_points for changes in owed} == {
        1: 11, 2: 0, 3: 0, 4: 0, 5: 0
    }  # fmt: skip
    deep = [changes for changes in owed if changes["construction"] == "deep"]
    assert len({chosen.configuration_hash(changes) for changes in deep}) == 1
    assert len({chosen.resolve_trial({**changes, "seed": 0}).key for changes in deep}) == 2
    without = chosen.with_settings({"plane_points": "0"})
    assert {without.resolve_trial(changes).evaluation.plane_points for changes in owed} == {0}


def test_sizes() -> None:
    chosen: Study = build("quickstart", None)
    assert (chosen.trials, chosen.sampler) == (12, "tpe")
    assert (chosen.with_size(5, None).trials, chosen.with_size(None, "random").sampler) == (5, "random")
    assert chosen.with_size(None, None) == chosen
    assert {name: build(name, None).seeds for name in STUDIES if build(name, None).seeds != 3} == {
        "constraint": 5,
        "quickstart": 5,
    }
    assert all(objective.startswith("val_") for objective in chosen.objectives)


def test_the_study_of_the_constraint() -> None:
    chosen = build("constraint", None)
    flats = [chosen.resolve_trial(point).flat() for point in chosen.grid]
    assert len(flats) == 37
    assert "190 trials" in str(STUDIES["constraint"].__doc__)
    assert len(chosen.owed_jobs(chosen.reported_seeds(0))) == 190
    apart = [flat for flat in flats if not flat["share_init"]]
    assert {flat["t"] for flat in apart} == {0.0}
    betas = [flat["beta"] for flat in apart if flat["constraint"] == "simplex"]
    assert betas == [0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0]
    kinds = {flat["constraint"] for flat in flats}
    assert kinds == {"path", "matching", "star", "simplex", "proximal"}
    assert len({(flat["t"], flat["beta"]) for flat in flats if flat["share_init"]}) == 18


@pytest.mark.parametrize("name", ["cifar-10-python.tar.gz", "cifar-100-python.tar.gz", "tiny-imagenet-200.zip"])
@pytest.mark.parametrize("study_name", sorted(STUDIES.keys() - {"quickstart"}))
def test_the_full_schedule(study_name: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    short, full = (build(study_name, tmp_path / name, schedule) for schedule in ("short", "full"))
    assert (full.grid, full.space, full.references) == (short.grid, short.space, short.references)
    flat = full.base.flat()
    recipe = {"model": "resnet20", "epochs": 200, "batch_size": 128, "lr": 0.1, "optimizer": "sgd"}
    data = {"train_size": None, "val_size": 5000, "test_size": None, "path_images": None, "bn_images": None}
    assert {key: flat[key] for key in (recipe | data)} == recipe | data
    assert flat["dataset"] == short.base.flat()["dataset"]
    assert flat.get("resolution", 64) == 64
    assert flat["members"] == 4
    vits = [full.resolve_trial(point).flat() for point in full.grid if point.get("model") == "vit"]
    assert {(vit["optimizer"], vit["lr"], vit["epochs"]) for vit in vits} <= {("adamw", 1e-3, 200)}
    assert bool(vits) == (study_name in ("architectures", "paper"))


def test_the_recipe_of_the_papers_figures(tmp_path: Path) -> None:
    """ResNet20 on CIFAR-100, five random pairs, three seeds."""
    (tmp_path / "cifar-100-python.tar.gz").mkdir()
    chosen = build("time-parameter", tmp_path / "cifar-100-python.tar.gz", "full").with_settings({"pairs": "5"})
    flat = chosen.base.flat()
    assert (flat["dataset"], flat["model"], flat["pairs"], chosen.seeds) == ("cifar100", "resnet20", 5, 3)


@pytest.mark.parametrize(
    ("name", "given", "schedule", "words"),
    [
        ("paper", False, "full", "--schedule full: expected --data and a study other than quickstart, got study paper"),
        ("quickstart", True, "full", "got study quickstart"),
        ("paper", True, "long", "unknown --schedule 'long': expected one of full, short"),
    ],
)
def test_schedules_that_are_none(name: str, given: bool, schedule: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        build(name, tmp_path if given else None, schedule)
