"""A sweep on an S3 server: the results of a folder, from any working folder, and copied into a folder to be read."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.storage.store import Store
from tests.support.object_stores import Objects, serving
from tests.support.shell import Command
from tests.support.tiny_sweep import launch, mlflow_runs, same_tables, says, sweep_arguments, untimed, works

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

SMALL = {"model": "mlp", "hidden": "8", "width": None}
"""Files of a few kilobytes."""
ONE = ("--trials", "1", "--concurrency", "1")


def files(folder: Path, *, apart: tuple[str, ...] = ()) -> dict[str, bytes]:
    """All files below a folder by their names."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(apart)
    }


def networks(folder: Path) -> dict[str, bytes]:
    """All files of tensors below a folder, but for how long they took."""
    return {str(path.relative_to(folder)): untimed(path) for path in folder.rglob("*.safetensors")}


@pytest.fixture(scope="module")
def objects() -> Iterator[Objects]:
    with serving() as server:
        yield server


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, image_cache: Path) -> Store:
    """The sweep in a folder."""
    storage = tmp_path_factory.mktemp("local")
    works(launch(*sweep_arguments(storage, image_cache, *ONE, **SMALL)))
    return Store(storage / "quickstart")


@pytest.fixture(scope="module")
def command(objects: Objects, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The same on the server, from a working folder of its own; it has run once."""
    cache = tmp_path_factory.mktemp("host")
    arguments = sweep_arguments(objects.uri("results"), cache, *ONE, **SMALL)
    said = works(launch(*arguments))
    assert f" in {objects.uri('results')} (local copy: {cache}/storage/" in said
    return arguments


@pytest.fixture(scope="module")
def fetched(objects: Objects, command: list[str], tmp_path_factory: pytest.TempPathFactory, shell: Command) -> Store:
    """Its copy."""
    to = tmp_path_factory.mktemp("fetched")
    said = shell("fetch", "quickstart", "--storage", objects.uri("results"), "--to", str(to))
    store = Store(to / "quickstart")
    assert said == f"sweep quickstart: {len(store.keys())} trials in {store.folder}\n"
    return store


def test_the_results_are_those_of_a_folder(local: Store, fetched: Store) -> None:
    same_tables(local.folder, fetched.folder)
    mine, theirs = (networks(store.folder / "weights") for store in (local, fetched))
    assert mine == theirs != {}


def test_nothing_but_results_is_left_there(objects: Objects, local: Store, fetched: Store, tmp_path: Path) -> None:
    there = objects.there("results/quickstart")
    every = {f"{path.parent.name}/{path.name}" for key in local.keys() for path in local.trial_files(key)}  # noqa: SIM118
    tables = {name.removeprefix("tables/") for name in there}
    journal = {name for name in tables if name.startswith("optuna.journal")}
    assert tables - journal == {*every, "sweep.json", "verdicts.json", "status.json"}
    assert fetched.journal.read_bytes().startswith(there["optuna.journal"])
    assert len(fetched.journal.read_bytes()) > len(there["optuna.journal"])  # the rest is in the parts
    runs = local.folder.parent / "runs"
    assert objects.tensors("results/runs", tmp_path) == networks(runs)
    recipes = {name: content for name, content in files(runs).items() if name.endswith("recipe.json")}
    assert recipes
    assert recipes.items() <= objects.there("results/runs").items()
    assert (fetched.folder / "verdicts.json").read_bytes() == there["verdicts.json"]
    assert {f"tables/{n}": c for n, c in files(fetched.folder / "tables").items()}.items() <= there.items()


def test_from_an_empty_working_folder_nothing_is_run_again(
    objects: Objects, command: list[str], local: Store, tmp_path: Path, shell: Command
) -> None:
    before = objects.there("results")
    elsewhere = [*command, "--cache", str(tmp_path)]
    assert f"sweep quickstart: 0 trials run now, {len(local.keys())} in " in shell(*elsewhere)
    after = objects.there("results")
    changed = {name for name in after if after[name] != before.get(name)}
    assert {name for name in changed if "/optuna.journal.parts/" not in name} <= {"quickstart/status.json"}
    assert after.keys() == before.keys()
    (storage,) = (tmp_path / "storage").iterdir()
    assert sorted(run["tags"]["key"] for run in mlflow_runs(storage, "quickstart", tmp_path)) == local.keys()
    works(launch(*elsewhere, "--trials", "2"))  # the searcher goes on from its journal
    roles = [row["role"] for row in Store(storage / "quickstart").rows()]
    assert roles.count("search") == 2
    assert {row["key"] for row in local.rows()} <= {row["key"] for row in Store(storage / "quickstart").rows()}


def test_the_copy_is_read(fetched: Store, shell: Command) -> None:
    assert "deep" in shell("best", "quickstart", "--storage", str(fetched.folder.parent))
    assert "MLflow differed in 0" in shell("sync", "quickstart", "--storage", str(fetched.folder.parent))


def test_what_reads_folders_says_so(objects: Objects, command: list[str], tmp_path: Path, refused: Command) -> None:
    uri = objects.uri("results")
    hint = "`launch.py fetch NAME --storage s3://… --to FOLDER` downloads a sweep into one"
    reading = [(name, "quickstart", "--storage", uri) for name in ("best", "sync", "report")]
    for arguments in (*reading, ("plan", *command[1:])):
        line = refused(*arguments)
        assert uri in line
        assert hint in line
    assert "`ray job submit`" in refused(*command, "--address", "ray://127.0.0.1:1")
    to = ["--to", str(tmp_path)]
    line = refused("fetch", "nope", "--storage", uri, *to)
    assert "no sweep 'nope' in" in line
    assert "expected one of quickstart" in line
    assert "expected an object store such as s3://" in refused("fetch", "quickstart", "--storage", str(tmp_path), *to)
    (tmp_path / "quickstart").mkdir()
    (tmp_path / "quickstart" / "sweep.json").write_text('{"base": {}}')
    line = refused("fetch", "quickstart", "--storage", uri, *to)
    assert "another sweep named 'quickstart'" in line
    assert (tmp_path / "quickstart" / "sweep.json").read_text() == '{"base": {}}'


def test_another_study_of_the_name_is_refused_and_nothing_is_lost(
    objects: Objects, command: list[str], tmp_path: Path, refused: Command
) -> None:
    before = objects.there("results")
    assert "has seed=0, got seed=7" in refused(*command, "--cache", str(tmp_path), "--seed", "7")
    assert objects.there("results") == before
    says(launch(*command, "--cache", str(tmp_path), "--name", "new", "--gpus-per-trial", "9"), "the cluster has only")
    assert objects.there("results") == before
