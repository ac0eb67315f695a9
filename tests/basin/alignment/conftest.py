"""Digits, split once for all tests of alignment."""

from pathlib import Path

import pytest

from basin.data import Data, DataSplit, load_arrays, split_data
from basin.data.digits import Digits


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of decoded images."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def data(cache: Path) -> Data:
    """100 training images."""
    arrays, _ = load_arrays(Digits(), source=None, cache=cache)
    return split_data(arrays, Digits(), DataSplit(train_size=100, val_size=60, test_size=60))
