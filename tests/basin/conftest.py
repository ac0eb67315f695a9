"""Decoded digits, once for all tests."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of decoded images."""
    return tmp_path_factory.mktemp("cache")
