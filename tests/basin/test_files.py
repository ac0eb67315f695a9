"""Files: whole or not there, with the permissions that the umask leaves; JSON objects, or nothing."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from basin.files import create_temporary, read_object, replace_atomically, write_atomically


@pytest.fixture(params=[0o022, 0o002, 0o077, 0o000])
def mask(request: pytest.FixtureRequest) -> Iterator[int]:
    """The process's umask."""
    before = os.umask(request.param)
    yield int(request.param)
    os.umask(before)


def permissions(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_file_and_its_folders_have_the_permissions_that_the_umask_leaves(mask: int, tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.json"
    write_atomically(path, "one")
    assert permissions(path) == 0o666 & ~mask
    assert permissions(path.parent) == permissions(path.parents[1]) == 0o777 & ~mask
    path.chmod(0o400)
    write_atomically(path, "two")  # the file is another one
    assert path.read_text() == "two"
    assert permissions(path) == 0o666 & ~mask


def test_temporary_files_are_hidden_beside_their_place_and_never_the_same(mask: int, tmp_path: Path) -> None:
    made = [create_temporary(tmp_path / "file.json") for _ in range(10)]
    assert len(set(made)) == 10
    for path in made:
        assert path.parent == tmp_path
        assert path.name.startswith(".file.json.")
        assert permissions(path) == 0o666 & ~mask


def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_atomically(path, "old")

    def fail(temporary: Path) -> None:
        temporary.write_text("new")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        replace_atomically(path, fail)
    assert path.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


@pytest.mark.parametrize(("content", "read"), [(b'{"a": 1}', {"a": 1}), (b"[1]", {}), (b'{"a":', {}), (b"\xff", {})])
def test_an_object_is_read_and_anything_else_is_empty(content: bytes, read: dict[str, int], tmp_path: Path) -> None:
    assert read_object(tmp_path / "file.json") == {}
    (tmp_path / "file.json").write_bytes(content)
    assert read_object(tmp_path / "file.json") == read


def test_an_object_inside_another_is_read_or_empty(tmp_path: Path) -> None:
    file = tmp_path / "file.json"
    file.write_text('{"data": {"source": {"path": "a"}, "hash": "b"}, "base": null}')
    assert read_object(file, "data", "source") == {"path": "a"}
    for parts in (("data", "hash"), ("data", "hash", "more"), ("base",), ("none", "source")):
        assert read_object(file, *parts) == {}
