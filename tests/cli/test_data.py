"""`launch.py data` says what a source holds."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from basin.data import datasets
from tests.support.shell import Command


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Two classes of grey and colour images, and what is none of them."""
    top = tmp_path / "photographs"
    for split, label, count in (("train", "cat", 4), ("train", "dog", 3), ("test", "cat", 2), ("test", "dog", 1)):
        (top / split / label).mkdir(parents=True)
        for number in range(count):
            pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
            image = Image.fromarray(pixels).convert("L" if number == 0 else "RGB")
            stream = io.BytesIO()
            image.save(stream, "PNG")
            (top / split / label / f"{number}.png").write_bytes(stream.getvalue())
    (top / "train" / "notes.txt").write_text("notes")
    (top / "train" / ".thumbs").write_text("hidden")
    return top


def test_it_shows_all_that_a_source_holds(photographs: Path, tmp_path: Path, shell: Command) -> None:
    text = shell("data", str(photographs), "--cache", str(tmp_path / "cache"))
    first = text.splitlines()[0]
    digest = datasets.make("imagefolder").decode(photographs, tmp_path).hash
    assert first.startswith("data: imagefolder, 2 classes, 7 training and 3 test images (16×16 RGB, 16×16 L), ")
    assert f"hash {digest}" in first
    assert "skipped: 1 not part of the dataset, 1 hidden" in first or "1 hidden, 1 not part" in first
    words = " ".join(text.replace("│", " ").split())
    assert "layout train/CLASS/IMAGE and test/CLASS/IMAGE" in words
    assert "skipped 1, hidden: train/.thumbs" in words
    assert "stored as 16×16 RGB: 6" in words
    assert "stored as 16×16 L: 4" in words
    assert "cat 4 2 dog 3 1" in words


def test_it_resizes(photographs: Path, tmp_path: Path, shell: Command) -> None:
    text = shell("data", str(photographs), "--resolution", "8", "--cache", str(tmp_path / "cache"))
    assert "decoded to 8×8, 3 channels of 8 bits" in " ".join(text.replace("│", " ").split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--dataset", "cifar10"), "holds image files"),
        (("--dataset", "mnist"), "unknown dataset 'mnist'"),
        (("--dataset", "cifar10", "--resolution", "8"), "--resolution 8: dataset cifar10 has a fixed size"),
    ],
)
def test_what_it_cannot_read_is_refused(
    options: tuple[str, ...], message: str, photographs: Path, tmp_path: Path, refused: Command
) -> None:
    assert message in refused("data", str(photographs), *options, "--cache", str(tmp_path / "cache"))


def test_a_source_that_is_not_there_is_refused(refused: Command) -> None:
    assert "nowhere: expected a file or a folder, found nothing" in refused("data", "nowhere")
