"""Exports are read by fresh processes without this project, and give the numbers of the trial's row."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import basin
from basin.loaded import LoadedEnsemble
from sweeps.storage.store import Store
from tests.support.kept_trials import key_of
from tests.support.shell import Command
from tests.support.tiny_sweep import python, works

SCORE = """
import json, sys
import numpy as np

images, labels = np.load(sys.argv[1]), np.load(sys.argv[2])
probabilities = np.concatenate([predict(part) for part in np.array_split(images, 3)])
assert probabilities.shape == (len(images), 10) and probabilities.dtype == np.float32
assert not {"basin", "sweeps", "cli", "stats"} & set(sys.modules)
truth = probabilities.astype(np.float64)[np.arange(len(labels)), labels]
print(json.dumps([100 * float((probabilities.argmax(axis=1) == labels).mean()), float(-np.log(truth).mean())]))
"""
READERS = {
    "torch": """
import torch
model = torch.export.load("model.pt2").module()
def predict(images):
    with torch.no_grad():
        return model(torch.from_numpy(images)).numpy()
""",
    "onnx": """
import onnxruntime
session = onnxruntime.InferenceSession("model.onnx")
def predict(images):
    return session.run(["probabilities"], {"images": images})[0]
""",
    "mlflow": """
import mlflow
model = mlflow.pyfunc.load_model("model")
predict = model.predict
""",
}


@pytest.fixture(scope="module")
def loaded(kept: Store, image_cache: Path) -> LoadedEnsemble:
    return basin.load(kept.folder, key_of(kept, "constrained"), cache=image_cache)


@pytest.fixture
def scored(loaded: LoadedEnsemble, tmp_path: Path) -> Callable[[str], None]:
    """Run a program that defines `predict` in the folder of an export; its scores are those of the row."""

    def score(program: str, prefix: str = "") -> None:
        test = loaded.data.splits.test
        images, labels = test.take(torch.arange(len(test)))
        np.save(tmp_path / "images.npy", images.numpy())
        np.save(tmp_path / "labels.npy", labels.numpy())
        (tmp_path / "program.py").write_text(program + SCORE)
        done = python("-W", "ignore", "program.py", "images.npy", "labels.npy", cwd=tmp_path)
        accuracy, nll = json.loads(works(done).splitlines()[-1])
        assert accuracy == pytest.approx(loaded.row[f"test_{prefix}accuracy"])
        assert nll == pytest.approx(loaded.row[f"test_{prefix}nll"], rel=1e-5)

    return score


@pytest.fixture
def export(kept: Store, loaded: LoadedEnsemble, tmp_path: Path, shell: Command) -> Callable[..., str]:
    """The command; its output is a file or folder of this test."""

    def run(kind: str, name: str, *more: str) -> str:
        where = ["--storage", str(kept.folder.parent), "--out", str(tmp_path / name)]
        return shell("export", loaded.row["key"][:8], "--format", kind, *where, *more)

    return run


def test_a_torch_program_needs_torch_alone(
    export: Callable[..., str], scored: Callable[..., None], loaded: LoadedEnsemble
) -> None:
    assert "model.pt2" in export("torch", "model.pt2")
    scored(READERS["torch"])


@pytest.mark.slow
def test_a_soup_is_exported_too(export: Callable[..., str], scored: Callable[..., None]) -> None:
    """All formats export the same module."""
    export("torch", "model.pt2", "--soup")
    scored(READERS["torch"], "soup_")


@pytest.mark.slow
def test_an_onnx_model_runs_in_its_runtime(export: Callable[..., str], scored: Callable[..., None]) -> None:
    export("onnx", "model.onnx")
    scored(READERS["onnx"])


@pytest.mark.slow
def test_a_folder_is_loaded_as_its_card_says(
    export: Callable[..., str], scored: Callable[..., None], loaded: LoadedEnsemble, tmp_path: Path
) -> None:
    export("folder", "model")
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    prediction = code[code.index("with torch") :]
    function = "def predict(pixels):\n    images = torch.from_numpy(pixels)\n"
    body = "".join(f"    {line}\n" for line in prediction.splitlines())
    opening = code.removesuffix(prediction).replace('"program.pt2"', '"model/program.pt2"')
    opening = opening.replace('"model.safetensors"', '"model/model.safetensors"')
    scored(f"{opening}\n{function}{body}    return probabilities.numpy()\n")
    row = loaded.row
    assert f"Test accuracy: {row['test_accuracy']:.3f} ± " in card
    assert "95 % interval over 60 images" in card
    assert f"Trial {row['key']} of sweep mine" in card
    known = json.loads((tmp_path / "model" / "config.json").read_text(encoding="utf-8"))
    assert known["recipe"] == loaded.origin.recipe
    assert known["class_names"] == list("0123456789")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_an_mlflow_model_is_code_and_is_registered(
    kept: Store,
    loaded: LoadedEnsemble,
    scored: Callable[..., None],
    tmp_path: Path,
    shell: Command,
    refused: Command,
) -> None:
    storage, folder = tmp_path / "results", tmp_path / "model"
    shutil.copytree(kept.folder, storage / "mine")
    key, where = loaded.row["key"], ("--storage", str(storage))
    arguments = ("export", key, *where, "--format", "mlflow", "--register", "digits", "--out")
    words = refused(*arguments, str(tmp_path / "early"))
    assert "no experiment 'mine'" in words
    assert "launch.py sync mine" in words
    assert not (tmp_path / "early").exists()
    assert not (storage / "mlflow.db").exists()
    shell("sync", "mine", *where)
    done = python("launch.py", *arguments, str(folder))  # MLflow says it too, among its messages
    assert "registered in MLflow as digits, version 1" in works(done)
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {
        *("MLmodel", "conda.yaml", "python_env.yaml", "requirements.txt", "served_model.py"),
        *("artifacts/program.pt2", "input_example.json", "serving_input_example.json"),
    }
    needed = (folder / "requirements.txt").read_text().split()
    assert {line.partition("==")[0] for line in needed} == {"mlflow", "numpy", "torch"}
    model = (folder / "MLmodel").read_text()
    assert "python_model.pkl" not in model
    assert '"uint8", "shape": [-1, 1, 8, 8]' in " ".join(model.split())
    scored(READERS["mlflow"])
    shutil.rmtree(folder)
    registered = f'import mlflow\nmlflow.set_tracking_uri("sqlite:///{storage / "mlflow.db"}")\n'
    scored(registered + READERS["mlflow"].replace('"model"', '"models:/digits/1"'))
    assert "MLflow differed in 0" in shell("sync", "mine", *where)
