"""Study files: what a file says is the study, and what is wrong with it is named with its line."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from basin.constructions import constructions
from basin.constructions.deep import Deep
from basin.errors import UsageError
from sweeps.storage.store import Store
from sweeps.study.catalog import STUDIES, build
from sweeps.study.document import read_document
from sweeps.study.job import Changes
from sweeps.study.manifest import define_study, update_manifest
from sweeps.study.study import Study
from sweeps.study.study_file import study_from_document
from sweeps.study.study_text import study_text

SMALL = """
constructions = ["constrained"]
trials = 2

[base]
dataset = "digits"
model = "resnet8"

[search]
beta = "0.01..10 log"
"""


@dataclass(frozen=True, kw_only=True)
class Several(Deep):
    """A deep ensemble with another default."""

    members: int = 7


def written(folder: Path, text: str, name: str = "mine.toml") -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def read(folder: Path, text: str, data: Path | None = None) -> Study:
    return study_from_document(read_document(written(folder, text)), data)


def same(one: Study, other: Study) -> bool:
    """Equal, and so are all keys of trials and the manifest."""
    keys = [[job.key for job in study.owed_jobs(study.reported_seeds(3))] for study in (one, other)]
    return keys[0] == keys[1] and define_study(one, 3) == define_study(other, 3) and one == other


@pytest.mark.parametrize("name", sorted(STUDIES))
def test_every_study_is_the_file_that_it_prints(name: str, tmp_path: Path) -> None:
    study = build(name, None)
    assert same(read(tmp_path, study_text(study, "words", None)), study)


@pytest.mark.parametrize("name", ["paper", "constraint", "cifar10-small"])
def test_a_study_on_images_is_too(name: str, tmp_path: Path) -> None:
    data = tmp_path / "tiny-imagenet-200.zip"
    data.touch()
    study = build(name, data, "full")
    document = read_document(written(tmp_path, study_text(study, "words", data)))
    assert document.path("data") == data
    assert same(study_from_document(document, data), study)


def test_everything_that_a_study_can_say_comes_back(tmp_path: Path) -> None:
    study = build("quickstart", None).with_settings({"model": "vit", "share_init": "false", "bn_images": "none"})
    references: tuple[Changes, ...] = ({"construction": "deep"}, {"construction": "constrained", "t": 0.0})
    study = replace(study, pinned=frozenset(), references=references, seeds=2, plane_points=0)
    study = study.with_size(7, "nsga2").search_also(["beta=0.1..3 log", "constraint=path,star", "lr", "epochs=3..9"])
    study = study.with_aim(metrics=["accuracy", "q_bar"], margin=1.25, scheduler="moasha", replicates=2)
    study = study.with_aim(constraints=["ece <= 5.123456789"])
    assert same(read(tmp_path, study_text(study, 'a "quoted" text', None)), study)


def test_yaml_says_the_same(tmp_path: Path) -> None:
    study = build("quickstart", None)
    text = study_text(study, "words", None)
    document = read_document(written(tmp_path, text))
    other = read_document(written(tmp_path, yaml.safe_dump(dict(document.content)), "mine.yaml"))
    assert same(study_from_document(other, None), study)


def test_values_are_parsed_by_their_fields(tmp_path: Path) -> None:
    """YAML reads 1e-3 as a text; 1 and 1.0 are one number."""
    text = "constructions: [constrained]\ntrials: 1\nbase: {dataset: digits, model: resnet8, lr: 1e-3, epochs: 3.0}\n"
    study = study_from_document(read_document(written(tmp_path, text, "mine.yml")), None)
    assert study.base.training.lr == 0.001
    assert json.dumps(study.base.flat()["epochs"]) == "3"


def test_lists_of_a_grid_are_combined(tmp_path: Path) -> None:
    text = '[base]\ndataset = "digits"\nmodel = "mlp"\n[[grid]]\nconstruction = "constrained"\n'
    study = read(tmp_path, text + "t = [0, 0.5]\nbeta = [1, 2]\n[[grid]]\nconstruction = 'deep'\n")
    points = [(point.get("t"), point.get("beta")) for point in study.grid]
    assert points == [(0, 1), (0, 2), (0.5, 1), (0.5, 2), (None, None)]
    assert study.space.constructions == ("constrained", "deep")
    assert study.trials == 0


def test_a_value_of_the_base_holds_for_every_construction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it is the default of the base's construction, and not that of the searched one."""
    monkeypatch.setitem(constructions._entries, "several", (Several, {}))  # type: ignore[arg-type]
    text = SMALL.replace('["constrained"]', '["constrained", "several"]')
    study = read(tmp_path, text.replace('"resnet8"', '"resnet8"\nmembers = 4'))
    assert study.space.fixed == {"members": 4}
    for name in ("constrained", "several", "deep"):
        assert study.resolve_trial({"construction": name}).construction.members == 4
    assert read(tmp_path, text).resolve_trial({"construction": "several"}).construction.members == 7


def test_the_full_schedule_is_below_what_the_file_sets(tmp_path: Path) -> None:
    text = 'schedule = "full"\n' + SMALL.replace('model = "resnet8"', "epochs = 3")
    training = read(tmp_path, text).base.training
    assert (training.epochs, training.batch_size) == (3, 128)


def test_data_name_the_dataset_unless_the_file_does(tmp_path: Path) -> None:
    data = tmp_path / "cifar-100-python.tar.gz"
    data.touch()
    assert read(tmp_path, SMALL.replace('dataset = "digits"', ""), data).base.flat()["dataset"] == "cifar100"
    assert read(tmp_path, SMALL, data).base.flat()["dataset"] == "digits"
    document = read_document(written(tmp_path, f'data = "sub/images.zip"\nood_data = "{data}"\n{SMALL}'))
    assert document.path("data") == tmp_path / "sub/images.zip"
    assert document.path("ood_data") == data


BASE = "[base]\ndataset = 'digits'\nmodel = 'mlp'\n"
WRONG: list[tuple[str, str]] = [
    (
        "trails = 3",
        r"1: unknown key of a study file 'trails': did you mean 'trials'",
    ),
    ("trials = 'two'", "1: trials: expected an integer, got two"),
    ("trials = true", "1: trials: expected an integer, got True"),
    ("trials = 3\n\nseeds = 0", "3: seeds=0: expected 1 or more"),
    ("trials = ", "1: Invalid value"),
    (
        "constructions = ['constrained', 'distiled']",
        r"1: unknown construction 'distiled': did you mean 'distilled'",
    ),
    ("[base]\nmodel = 'mlp'", "1: \\[base\\] names no dataset: expected one of cifar10"),
    ("[base]\ndataset = 'digit'", r"2: unknown dataset 'digit': did you mean 'digits'"),
    (
        BASE + "epoch = 3",
        r"4: unknown field 'epoch': did you mean 'epochs'",
    ),
    (
        BASE + "epochs = 0",
        "4: epochs=0: expected an integer of 1 or more",
    ),
    (
        BASE + "beta = 1",
        "4: beta is a field of construction constrained, dis",
    ),
    (BASE + "seed = 1", "4: seed: give --seed on the command line"),
    (BASE + "epochs = [1, 2]", "4: epochs=.1, 2.: expected an integer"),
    ("schedule = 'long'", "1: unknown schedule 'long': expected one of full, short"),
    (
        "metrics = ['accurracy']",
        "1: unknown --metric score of validation 'accurracy': did you mean 'accuracy'",
    ),
    ("metrics = [1]", "1: metrics: expected texts, got 1"),
    ("constraints = ['ece < 5']", "1: --constraint ece < 5: expected a score, >= or <=, and a number"),
    ("scheduler = 'moasha'", "1: --scheduler moasha: expected two objectives"),
    ("references = ['deep', 'dep']", r"1: unknown construction 'dep': did you mean 'deep'"),
    (
        "[fixed]\nbet = 1",
        "2: unknown field of the searched constructions 'bet': did you mean 'beta'",
    ),
    ("[fixed]\nbeta = -1", "2: beta=-1: expected a number of 0 or more"),
    ("[fixed]\nbeta = 1\n[search]\nbeta = true", "4: beta is set in .fixed. or .base.: remove it there"),
    ("[search]\nbeta = '3..1'", "2: beta=3..1: expected two numbers, the lower one first"),
    ("[search]\nbeta = '0..1 log'", "2: beta=0..1 log: expected ends above 0"),
    ("[search]\nbeta = '-1..1'", "2: beta=-1: expected a number of 0 or more"),
    ("[search]\nbeta = 3", "2: beta=3: expected a range such as .*one value is not a search"),
    ("[search]\nbeta = [1, 1.0]", "2: beta=1, 1.0: expected two or more different choices"),
    ("[search]\nconstraint = 'path..star'", "2: constraint=path..star: expected choices"),
    ("[search]\nmembers = '1.5..3'", "2: members=1.5: expected an integer"),
    ("[search]\nmembers = true", "2: --search members: the field has no search range of its own"),
    ("[search]\nbetta = true", r"2: unknown field to search 'betta': did you mean 'beta'"),
    ("[[grid]]\nt = 1\n\n[[grid]]\nconstruction = 'deep'", "1: a block of the grid names a construction"),
    ("[[grid]]\nconstruction = 'deep'\n[[grid]]\nconstruction = 'deep'\nt = 0", "5: t is a field of constr"),
]
DEFAULTS = {"constructions": ["constrained"], "trials": 2, "base": {"dataset": "digits", "model": "mlp"}}


@pytest.mark.parametrize(("text", "words"), WRONG)
def test_errors_name_the_line_and_the_nearest_name(text: str, words: str, tmp_path: Path) -> None:
    """What the wrong text lacks of a study follows in lines of its own."""
    rest = ""
    for key, value in DEFAULTS.items():
        if f"{key} =" not in text and f"[{key}]" not in text:
            rest += f"\n[{key}]\ndataset = 'digits'\nmodel = 'mlp'\n" if key == "base" else f"{key} = {value!r}\n"
    lines = [line for line in rest.splitlines() if line]
    top = [line for line in lines if line.startswith(("constructions", "trials"))]
    below = [line for line in lines if line not in top]
    inner = text.startswith("[")
    whole = "\n".join([*([] if inner else [text]), *top, *([text] if inner else []), *below])
    shift = len(top) if inner else 0
    number, _, message = words.partition(":")
    with pytest.raises(UsageError, match=f"mine.toml:{int(number) + shift}:{message}"):
        read(tmp_path, whole)


def test_lines_of_yaml_are_named_too(tmp_path: Path) -> None:
    text = "trials: 2\nconstructions: [constrained]\nbase:\n  dataset: digits\n  model: mlp\n  epoch: 3\n"
    for wrong, words in [
        (text, r"mine.yaml:6: unknown field 'epoch': did you mean 'epochs'"),
        ("trials: 2\ntrials: 3\n", "mine.yaml:2: trials is already set in line 1"),
        ("trials: [2\n", "mine.yaml:2: "),
        ("- trials\n", "mine.yaml:1: expected keys and values"),
    ]:
        with pytest.raises(UsageError, match=words):
            study_from_document(read_document(written(tmp_path, wrong, "mine.yaml")), None)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"mine\.toml: expected a study file: No such file"):
        read_document(tmp_path / "mine.toml")


def test_a_study_must_have_something_to_run(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to run: expected trials"):
        read(tmp_path, SMALL.replace("trials = 2", ""))
    with pytest.raises(UsageError, match="constructions: expected the constructions to search"):
        read(tmp_path, SMALL.replace('constructions = ["constrained"]', ""))


# values of searched fields


def search(*texts: str) -> Study:
    return build("quickstart", None).search_also(texts)


def drawn(study: Study, name: str) -> Any:
    return next(field for field in study.space.fields("constrained") if field.name == name)


def test_a_range_from_the_command_line_is_drawn() -> None:
    import optuna

    study = search("beta=0.5..2", "t=0,0.5,1", "share_init=true,false", "epochs=3..5")
    sampler = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    points = [study.space.draw(sampler.ask()) for _ in range(60)]
    mine = [point for point in points if point["construction"] == "constrained"]
    assert all(0.5 <= float(point["beta"]) <= 2 for point in mine)  # type: ignore[arg-type]
    assert {point["t"] for point in mine} == {0.0, 0.5, 1.0}
    assert {point["share_init"] for point in mine} == {True, False}
    assert {point["epochs"] for point in mine} == {3, 4, 5}
    assert study.space.searched_training() == ["epochs"]
    trials = [study.resolve_trial(point) for point in mine if point["t"] == 0.0]
    assert {trial.training.epochs for trial in trials} <= {3, 4, 5}
    row = study.resolve_trial(mine[0]).flat()
    assert study.space.point_of(row) == mine[0]
    assert study.space.point_of({**row, "beta": 3.0}) is None
    assert study.space.point_of({**row, "t": 0.25}) is None


def test_choices_may_be_some_of_the_field_s() -> None:
    assert drawn(search("constraint=path,star"), "constraint").choices == ("path", "star")
    with pytest.raises(UsageError, match="constraint=ring: expected one of path"):
        search("constraint=path,ring")


def test_a_range_that_the_field_has_anyway_is_the_same_study() -> None:
    field = drawn(search(), "beta")
    assert search(f"beta={field.search.low}..{field.search.high} log") == search()
    assert search("beta=0.1..1", "beta") == search("beta")  # the last one counts


def test_the_same_ranges_continue_a_sweep_and_others_do_not(tmp_path: Path) -> None:
    store = Store(tmp_path / "demo")
    store.folder.mkdir()
    update_manifest(store, search("beta=0.1..3 log"), 0)
    before = (store.folder / "sweep.json").read_text()
    assert json.loads(before)["search"] == {"beta": "0.1..3.0 log"}
    update_manifest(store, search("beta = 0.1 .. 3 log".replace(" = ", "=")), 0)
    assert (store.folder / "sweep.json").read_text() == before
    for other in (search(), search("beta=0.1..4 log"), search("beta=0.1..3"), search("beta=0.1,3")):
        with pytest.raises(UsageError, match=r"sweep 'demo' has search=.*0\.1\.\.3\.0 log.*or another --name"):
            update_manifest(store, other, 0)


def test_a_manifest_of_before_has_the_ranges_of_the_fields(tmp_path: Path) -> None:
    store = Store(tmp_path / "demo")
    store.folder.mkdir()
    update_manifest(store, search(), 0)
    manifest = json.loads((store.folder / "sweep.json").read_text())
    del manifest["search"]
    (store.folder / "sweep.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match=r"has search=\{\}, got search"):
        update_manifest(store, search("beta=0.1..3 log"), 0)
    update_manifest(store, search(), 0)


def test_a_field_is_set_or_searched() -> None:
    set_already = build("quickstart", None).with_settings({"beta": "1"})
    with pytest.raises(UsageError, match="--search beta: --set beta=… fixes this field"):
        set_already.search_also(["beta=1..2"])
    fixed = search("beta=1..2").with_settings({"beta": "1"})
    assert "beta" not in [field.name for field in fixed.space.fields("constrained")]
    assert define_study(fixed, 0)["search"] == {}
