"""What the user can mend: one line that says what was expected and what came, exit code 2, nothing half-written."""

import fcntl
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from analysis.__main__ import main as analysis_command
from basin.__main__ import main as basin_command
from benchmarks.__main__ import main as benchmarks_command
from sweeps.storage.store import Store
from tests.support.shell import Command
from tests.support.tiny_sweep import launch, says, snapshot, sweep_arguments


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--set", "epoch=3"], "unknown field 'epoch': did you mean 'epochs'?"),
        (["--set", "dataset=nope"], "unknown dataset 'nope': expected one of cifar10"),
        (["--set", "model=nope"], "unknown model 'nope': expected one of"),
        (["--set", "construction=nope"], "unknown construction 'nope': expected one of constrained, deep"),
        (["--set", "construction=constrained", "--set", "temperature=2"], "unknown field 'temperature'"),
        (["--set", "beta=-1"], "beta=-1: expected a number of 0 or more"),
        (["--set", "t=1.5"], "t=1.5: expected a number from 0 to 1"),
        (["--set", "epochs=0"], "epochs=0: expected an integer of 1 or more"),
        (["--set", "precision=half"], "precision=half: expected one of auto, float32, bfloat16"),
        (["--set", "device=tpu"], "device=tpu: expected one of auto, cpu, cuda"),
        (["--set", "threads=0"], "threads=0: expected an integer of 1 or more"),
        (["--set", "seed=1"], "--set seed=1: give --seed"),
        (["--set", "epochs"], "--set epochs: expected field=value"),
        (["--set", "=3"], "--set =3: expected field=value"),
        (["--set", "train_size=100000"], "train"),
        (
            ["--sampler", "grd"],
            "unknown sampler 'grd': did you mean 'grid'? expected one of gp, grid",
        ),
        (["--name", "../up"], "--name ../up: expected letters"),
        (["--name", ""], "--name '': expected letters"),
        (["--name", "n" * 260], "--name nnnnnnnnnnnnnnnnnnnn…: expected at most 255 bytes, got 260"),
        (["--constraint", "q_bar >= 1.2.3"], "expected a finite number such as 5 or 0.5, got 1.2.3"),
        (["--constraint", "q_bar >= 1e999"], "expected a finite number such as 5 or 0.5, got 1e999"),
        (["--cpus-per-trial", "0"], "--cpus-per-trial 0: expected more than 0, or a --gpus-per-trial above 0"),
        (["--cpus-per-trial", "0.00001"], "--cpus-per-trial 1e-05: expected 0, or a finite number of 0.0001 or more"),
        (["--cpus-per-trial", "inf"], "--cpus-per-trial inf: expected 0, or a finite number"),
        (["--gpus-per-trial", "1.5"], "--gpus-per-trial 1.5: expected a whole number, or less than 1"),
        (["--seed", "4294967296"], "--seed 4294967296: expected less than 4294967293"),
        (["--margin", "inf"], "--margin inf: expected a finite number"),
        (
            ["--data", "a/x.zip", "--data", "b/x.zip"],
            "--data a/x.zip and b/x.zip: both sweeps would be named 'quickstart-x'",
        ),
        (["--address", "http://127.0.0.1:8265"], "http:// is for `ray job submit --address`"),
        (["--address", "127.0.0.1"], "expected local, auto, HOST:PORT of the head"),
        (["--address", "host:port"], "expected local, auto, HOST:PORT of the head"),
        (["--name", "runs"], "--name runs: expected letters"),
        (["--name", "mlflow.db"], "--name mlflow.db: expected letters"),
        (["--storage", "ftp://host/results"], "--storage ftp://host/results: Unrecognized filesystem type"),
        (["--storage", "s3://key:secret@bucket/results"], "--storage must not contain a password"),
        (["--data", "/nope"], "no file or folder /nope"),
        (["--set", "dataset=cifar10", "--data", "/nope"], "no file or folder /nope"),
    ],
)
def test_settings(more: list[str], words: str, refused: Command, tmp_path: Path, image_cache: Path) -> None:
    line = refused(*sweep_arguments(tmp_path / "storage", image_cache), *more)
    assert words in line
    assert not (tmp_path / "storage").exists()


def test_a_gpu_that_is_not_there(refused: Command, tmp_path: Path, image_cache: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    line = refused(*sweep_arguments(tmp_path / "storage", image_cache), "--set", "device=cuda")
    assert "device=cuda: expected a CUDA GPU, found none" in line
    assert not (tmp_path / "storage").exists()


def test_an_unknown_study(refused: Command, tmp_path: Path) -> None:
    line = refused("sweep", "nope", "--storage", str(tmp_path / "storage"))
    assert "unknown study 'nope': expected one of" in line
    assert "quickstart" in line
    assert not (tmp_path / "storage").exists()


@pytest.mark.parametrize("name", ["images.tar.xz", "images.zip", "images.tar.gz"])
def test_a_corrupt_archive(name: str, refused: Command, tmp_path: Path) -> None:
    archive, cache = tmp_path / name, tmp_path / "cache"
    archive.write_bytes(b"no archive" * 100)
    where = ["--storage", str(tmp_path / "storage"), "--cache", str(cache)]
    line = refused("sweep", "cifar10-small", "--data", str(archive), *where)
    assert name in line
    assert not (tmp_path / "storage").exists()
    assert not [path for path in cache.rglob("*") if path.is_file()]


def test_a_missing_archive(refused: Command, tmp_path: Path) -> None:
    line = refused("sweep", "cifar10-small", "--data", "/nope.tar.xz", "--storage", str(tmp_path / "storage"))
    assert "/nope.tar.xz" in line
    assert "expected" in line
    assert not (tmp_path / "storage").exists()


def test_a_file_in_place_of_the_storage(refused: Command, tmp_path: Path, image_cache: Path) -> None:
    (tmp_path / "storage").write_text("mine")
    line = refused(*sweep_arguments(tmp_path / "storage", image_cache))
    assert f"--storage {tmp_path / 'storage'}: expected a folder to write to" in line
    assert (tmp_path / "storage").read_text() == "mine"


def test_a_file_in_place_of_the_cache(refused: Command, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("mine")
    line = refused(*sweep_arguments(tmp_path / "storage", tmp_path / "cache"))
    assert "cache" in line
    assert not (tmp_path / "storage").exists()


def test_other_settings_under_the_same_name(refused: Command, finished: Store, image_cache: Path) -> None:
    before = snapshot(finished.folder)
    line = refused(*sweep_arguments(finished.folder.parent, image_cache, epochs="3"))
    assert "sweep 'quickstart' has epochs=2, got epochs=3" in line
    assert "another --name" in line
    line = refused(*sweep_arguments(finished.folder.parent, image_cache, "--seed", "1"))
    assert "has seed=0, got seed=1" in line
    line = refused(*sweep_arguments(finished.folder.parent, image_cache, construction="distilled"))
    assert 'has constructions=["constrained","distilled"]' in line
    after = snapshot(finished.folder)
    del before[".lock"], after[".lock"]
    assert after == before


def test_numbers_that_cannot_be_computed_later(refused: Command, finished: Store) -> None:
    where = ["--storage", str(finished.folder.parent)]
    line = refused("rescore", "quickstart", "--metric", "nll", *where)
    assert "sweep 'quickstart' has no stored predictions: run it under another --name" in line
    line = refused("rescore", "quickstart", "--metric", "deep_ensemble_equivalent", *where)
    assert "--metric deep_ensemble_equivalent: expected --curve, a sweep of the study ensemble-size" in line


def test_a_second_launcher(refused: Command, finished: Store, image_cache: Path) -> None:
    with (finished.folder / ".lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        line = refused(*sweep_arguments(finished.folder.parent, image_cache))
    assert "sweep 'quickstart' is being run by another launcher; wait, or give --name" in line


READING = ("status", "best", "report", "verify", "sync", "gc", "rescore", "ui", "fetch")
"""Commands whose first argument is a sweep."""


@pytest.mark.parametrize("command", READING)
def test_the_folder_of_a_sweep_instead_of_its_name(command: str, refused: Command) -> None:
    more = {"rescore": ["--metric", "nll"], "fetch": ["--storage", "s3://bucket/results"]}.get(command, [])
    line = refused(command, "results/quickstart", *more)
    assert "results/quickstart: expected the name of a sweep, not its folder: give quickstart\n" in line


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("quickstart/", "give quickstart"),
        ("./results/quickstart/", "give quickstart"),
        ("/shared/my results/quickstart", "give quickstart --storage '/shared/my results'"),
        ("s3://bucket/results/quickstart", "give quickstart --storage s3://bucket/results"),
    ],
)
def test_the_storage_of_that_folder(given: str, advice: str, refused: Command) -> None:
    assert refused("status", given).endswith(f"{given}: expected the name of a sweep, not its folder: {advice}\n")


@pytest.mark.parametrize("command", ["show", "rerun", "export"])
def test_the_folder_of_a_trials_sweep(command: str, refused: Command) -> None:
    line = refused(command, "2d22d463", "--name", "results/quickstart")
    assert "results/quickstart: expected the name of a sweep, not its folder: give quickstart\n" in line


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("command", ["best", "ui"])
def test_an_unknown_sweep(command: str, refused: Command, finished: Store, tmp_path: Path) -> None:
    line = refused(command, "nope", "--storage", str(finished.folder.parent))
    assert "no sweep 'nope' in " in line
    assert "expected one of " in line
    assert "quickstart" in line
    line = refused(command, "quickstart", "--storage", str(tmp_path / "empty"))
    assert "no MLflow store at " in line
    assert not (tmp_path / "empty").exists()


def test_a_search_that_is_not_there(refused: Command, tmp_path: Path) -> None:
    (tmp_path / "quickstart").mkdir()
    assert "no search in " in refused("ui", "quickstart", "--optuna", "--storage", str(tmp_path))
    assert not list((tmp_path / "quickstart").iterdir())


@pytest.mark.filterwarnings("ignore")
def test_a_port_that_is_taken(refused: Command, finished: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = refused("ui", "quickstart", "--storage", str(finished.folder.parent), "--start", "--port", port)
    assert f"--port {port}: " in line
    assert "give another port" in line


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("axis", ["--x", "--y"])
def test_an_unknown_metric(axis: str, refused: Command, finished: Store) -> None:
    line = refused("best", "quickstart", axis, "nope", "--storage", str(finished.folder.parent))
    assert "unknown metric 'nope': expected one of accuracy" in line


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("uri", ["sqlite:////dev/null/mlflow.db", "nonsense://x"])
def test_a_tracking_store_that_cannot_be(uri: str, refused: Command, tmp_path: Path, image_cache: Path) -> None:
    line = refused(*sweep_arguments(tmp_path / "storage", image_cache), "--tracking-uri", uri)
    assert f"--tracking-uri {uri}: expected an MLflow tracking store that answers, got " in line
    assert not (tmp_path / "storage").exists()


def test_more_than_the_cluster_has(tmp_path: Path, image_cache: Path) -> None:
    done = launch(*sweep_arguments(tmp_path / "storage", image_cache), "--cpus-per-trial", "1000")
    says(done, "1000 CPUs and 0 GPUs", "the cluster has only", "--cpus-per-trial")
    assert not (tmp_path / "storage").exists()


@pytest.mark.parametrize("address", ["ray://127.0.0.1:9", "127.0.0.1:9", "nowhere.invalid:6379"])
def test_a_cluster_that_does_not_answer(address: str, refused: Command, tmp_path: Path, image_cache: Path) -> None:
    line = refused(*sweep_arguments(tmp_path / "storage", image_cache), "--address", address)
    assert f"--address {address}: expected a Ray cluster that answers, got " in line
    assert not (tmp_path / "storage").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["bestt"], "unknown command 'bestt': did you mean 'best'? expected one of best, columns"),
        (["frobnicate"], "unknown command 'frobnicate': expected one of best, columns"),
        (["--verson"], "unknown option --verson: did you mean --version?"),
        (["best", "q", "--splitt", "val"], "unknown option --splitt: did you mean --split?"),
        (["best", "q", "-z"], "unknown option -z; `launch.py best --help` lists the options"),
        (["best"], "missing argument 'SWEEP'; `launch.py best --help`"),
        (["best", "q", "more"], "unexpected extra argument(s) (more)"),
        (["best", "q", "--split"], "option '--split' requires an argument"),
        (["rescore", "q"], "missing option '--metric'"),
        (["best", "q", "--split", "foo"], "unknown split 'foo': expected one of test, val"),
        (["best", "q", "--format", "tabel"], "unknown format 'tabel': did you mean 'table'? expected one of csv"),
        (["sweep", "q", "--trials", "0"], "--trials 0: expected greater than or equal to 1"),
        (["sweep", "q", "--seed", "x"], "--seed x: expected a valid integer"),
    ],
)
def test_what_the_command_line_parser_refuses(arguments: list[str], words: str, refused: Command) -> None:
    assert words in refused(*arguments)


@pytest.mark.parametrize("program", [basin_command, benchmarks_command, analysis_command])
def test_what_the_parsers_of_modules_refuse(
    program: Callable[[list[str]], int], capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["--dataa", "x"], ["--data"], ["one", "two", "three", "--imprt=x"]):
        assert program(arguments) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert err.startswith("error: ")


def test_a_campaign_with_an_unknown_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert basin_command(["campaign", "file.json", "--workrs", "2"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: unknown option '--workrs': did you mean '--workers'? expected one of ")
