"""What every dataset must do, whichever file registers it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from basin.data import Dataset, DataSplit, datasets, image_chunks, load_arrays, split_data, training_batch
from basin.errors import UsageError

Known = tuple[Dataset, Path | None]


def test_arrays_are_images_with_labels(known: Known, tmp_path: Path) -> None:
    dataset, source = known
    arrays = dataset.decode(source, tmp_path)
    for images, labels in ((arrays.train_images, arrays.train_labels), (arrays.test_images, arrays.test_labels)):
        assert images.dtype == np.uint8
        assert images.ndim == 4
        assert images.shape[1] in {1, 3}
        assert labels.dtype == np.int64
        assert labels.shape == images.shape[:1]
        assert set(labels) == set(range(len(arrays.classes)))
    assert arrays.train_images.shape[1:] == arrays.test_images.shape[1:]


def test_decoding_is_deterministic_and_the_hash_is_of_the_content(known: Known, tmp_path: Path) -> None:
    dataset, source = known
    first, again = (dataset.decode(source, tmp_path) for _ in range(2))
    assert first.hash == again.hash
    assert len(first.hash) == 16
    changed = first.test_labels.copy()
    changed[0] = (changed[0] + 1) % len(first.classes)
    parts = {**first.parts(), "test_labels": changed}
    assert type(first)(**parts, classes=first.classes).hash != first.hash


def test_it_is_decoded_once(known: Known, tmp_path: Path) -> None:
    dataset, source = known
    first, digest = load_arrays(dataset, source=source, cache=tmp_path)
    (folder,) = tmp_path.iterdir()
    dates = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    again, same = load_arrays(dataset, source=source, cache=tmp_path)
    assert digest == same == first.hash == again.hash == dataset.decode(source, tmp_path).hash
    assert dates == {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert folder.name.startswith(datasets.name(dataset) + "-")
    for name, array in again.parts().items():
        assert isinstance(array, np.memmap)
        np.testing.assert_array_equal(array, getattr(first, name))


def test_batches_and_chunks_come_from_it(known: Known, tmp_path: Path) -> None:
    dataset, source = known
    arrays, digest = load_arrays(dataset, source=source, cache=tmp_path)
    data = split_data(arrays, dataset, DataSplit(val_size=10))
    assert data.hash == digest
    assert data.classes == len(arrays.classes)
    assert data.shape == arrays.train_images.shape[1:]
    x, y = training_batch(data, seed=0, member=0, step=0, batch_size=16)
    assert x.shape == (16, *data.shape)
    assert x.dtype == torch.float32
    assert x.isfinite().all()
    assert y.shape == (16,)
    assert sum(len(labels) for _, labels in image_chunks(data.test, 7)) == len(data.test)


def test_the_default_augmentation_is_one_of_a_split(known: Known) -> None:
    dataset, _ = known
    assert DataSplit(augment=dataset.augment).augment == dataset.augment  # type: ignore[arg-type]


def test_folder_and_archives_hold_the_same(known: Known, tmp_path: Path, pack: Callable[[Path, Path], Path]) -> None:
    dataset, source = known
    if source is None:
        return
    expected = dataset.decode(source, tmp_path).hash
    for ending in ("zip", "tar.gz", "tar.xz"):
        assert dataset.decode(pack(source, tmp_path / f"images.{ending}"), tmp_path).hash == expected
    assert dataset.decode(next(source.iterdir()) if len(list(source.iterdir())) == 1 else source, tmp_path).hash


@pytest.mark.parametrize("ending", ["zip", "tar.gz", "tar.xz"])
def test_a_cut_archive_is_refused_and_leaves_nothing(
    known: Known, ending: str, tmp_path: Path, pack: Callable[[Path, Path], Path]
) -> None:
    dataset, source = known
    if source is None:
        return
    whole = pack(source, tmp_path / f"images.{ending}").read_bytes()
    cut = tmp_path / f"cut.{ending}"
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(UsageError, match=r"cannot read .*cut.*expected a folder, or a whole"):
        load_arrays(dataset, source=cut, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_source_that_is_missing_or_something_else_is_refused(known: Known, tmp_path: Path) -> None:
    dataset, _ = known
    with pytest.raises(UsageError, match=r"no file or folder .*nowhere"):
        load_arrays(dataset, source=tmp_path / "nowhere", cache=tmp_path / "cache")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").write_text("no images")
    for source in (tmp_path / "empty", tmp_path / "text"):
        with pytest.raises(UsageError, match="expected"):
            load_arrays(dataset, source=source, cache=tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
