"""Storages that are no folders."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.object_stores import Objects, serving


@pytest.fixture(scope="module")
def objects() -> Iterator[Objects]:
    with serving() as server:
        yield server


@pytest.fixture(params=["s3", "file"])
def uri(request: pytest.FixtureRequest, objects: Objects, tmp_path: Path) -> str:
    """An empty storage: objects, which are put whole, or files, which are moved into their places."""
    return objects.uri(tmp_path.name) if request.param == "s3" else (tmp_path / "there").as_uri()
