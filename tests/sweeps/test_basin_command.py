"""`python -m basin`: one trial without the orchestration."""

import json
from pathlib import Path

import pytest

from basin.__main__ import main
from tests.support.tiny_sweep import SETTINGS, python, says, study, works

TINY = [part for name, value in SETTINGS.items() for part in ("--set", f"{name}={value}")]


def test_a_trial_is_printed_as_json_and_named_like_the_sweeps(image_cache: Path, tmp_path: Path) -> None:
    arguments = ["--construction", "distilled", "--set", "t=0.5", "--set", "seed=1", *TINY, "--cache", str(image_cache)]
    done = python("-m", "basin", *arguments)
    found = json.loads(works(done))
    assert {"key", "trial", "scores", "cost", "machine", "members", "history", "paths", "barriers"} <= found.keys()
    assert found["trial"]["construction"] == "distilled"
    assert (found["trial"]["t"], found["trial"]["seed"], found["trial"]["epochs"]) == (0.5, 1, 2)
    for split in ("val", "test"):
        assert 0 <= found["scores"][f"{split}_accuracy"] <= 100
        assert -100 <= found["scores"][f"{split}_q_bar_reset"] <= 100
    assert len(found["members"]) == 2
    assert found["barriers"].keys() == {"val_reset", "val_interp", "test_reset", "test_interp"}
    for name, ((own, one), (other, last)) in found["barriers"].items():
        split, policy = name.split("_")
        assert (own, one, last) == (0, other, 0)
        assert other == found["scores"][f"{split}_barrier_{policy}"]
    cost = found["cost"]
    # 100 images in batches of 50, 2 epochs: a trunk of 2 steps, then 2 steps of two members and a mixed network.
    assert (cost["passes"], cost["member_epochs"], cost["image_passes"]) == (8, 4.0, 400)
    assert found["cost"]["teacher_passes"] == 2 * 4
    trial = study(t="0.5").resolve_trial({"construction": "distilled", "seed": 1})
    assert found["trial"].keys() == trial.flat().keys()

    out = tmp_path / "outcome.json"
    quiet = python("-m", "basin", *arguments, "--out", str(out), "--runs", str(tmp_path / "runs"))
    assert works(quiet) == ""
    again = json.loads(out.read_text())
    for name in ("key", "trial", "scores", "members", "paths"):
        assert again[name] == found[name], name  # bit for bit, in another process


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--dataset", "nope"], "unknown dataset 'nope': expected one of cifar10"),
        (["--model", "nope"], "unknown model 'nope': expected one of"),
        (["--construction", "nope"], "unknown construction 'nope': expected one of constrained, deep"),
        (["--set", "epochs"], "--set epochs: expected field=value"),
        (["--set", "epoch=1"], "unknown field 'epoch': did you mean 'epochs'?"),
        (["--set", "epochs=0"], "epochs=0: expected an integer of 1 or more"),
        (["--set", "device=tpu"], "device=tpu: expected one of auto, cpu, cuda"),
        (["--data", "/nope"], "no file or folder /nope"),
    ],
)
def test_what_the_user_can_mend_is_one_line(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], image_cache: Path
) -> None:
    assert main([*arguments, "--cache", str(image_cache)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith(f"error: {words}")


def test_divergence_is_one_line(capsys: pytest.CaptureFixture[str], image_cache: Path) -> None:
    wild = ["--model", "mlp", "--set", "lr=1e30", "--set", "momentum=0", "--set", "train_size=100"]
    assert main([*wild, "--set", "epochs=2", "--cache", str(image_cache)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: training loss is")
    assert printed.err.count("\n") == 1


def test_errors_reach_the_shell() -> None:
    says(python("-m", "basin", "--dataset", "nope"), "unknown dataset 'nope'")


def test_its_import_is_light() -> None:
    program = "import sys, basin.__main__; print(*sys.modules)"
    loaded = {name.partition(".")[0] for name in works(python("-c", program)).split()}
    assert "torch" in loaded
    assert not loaded & {"ray", "mlflow", "optuna", "pyarrow", "sweeps", "launch"}
