"""Code from outside of the project: imported by name, file or folder, and known by the hash of its sources."""

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from basin import plugins
from basin.constructions import constructions
from basin.errors import UsageError
from basin.plugins import check_plugins, describe_plugins, import_plugin, import_plugins, imported_plugins

CONSTRUCTION = """
from basin.constructions import constructions
from basin.constructions.deep import Deep


@constructions.register("{name}")
class Other(Deep):
    \"\"\"Another deep ensemble.\"\"\"
"""


@pytest.fixture(autouse=True)
def apart(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test imports is forgotten after it."""
    list(constructions)
    before = set(sys.modules)
    monkeypatch.setattr(plugins, "_IMPORTED", {})
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(constructions, "_entries", dict(constructions._entries))
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def expected_hash(root: Path, *names: str) -> str:
    """By hand: each file's path from the root, its length and its content."""
    digest = hashlib.sha256()
    for name in names:
        content = (root / name).read_bytes()
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def test_a_file_registers_what_it_defines(tmp_path: Path) -> None:
    written(tmp_path / "my_lab.py", CONSTRUCTION.format(name="other"))
    plugin = import_plugin("my_lab.py", tmp_path)
    assert "other" in constructions
    assert str(plugin) == f"my_lab@{expected_hash(tmp_path, 'my_lab.py')}"
    assert not plugin.installed
    assert import_plugin(str(tmp_path / "my_lab.py"), Path("/")) is plugin  # again, by another path: once
    assert describe_plugins() == str(plugin)
    check_plugins(describe_plugins())


def test_a_package_is_hashed_with_all_its_modules(tmp_path: Path) -> None:
    written(tmp_path / "my_lab" / "__init__.py", "from my_lab.parts import numbers\n")
    written(tmp_path / "my_lab" / "parts" / "numbers.py", "ONE = 1\n")
    plugin = import_plugin(f"{tmp_path}/my_lab", Path("/"))
    assert plugin.sources == expected_hash(tmp_path, "my_lab/__init__.py", "my_lab/parts/numbers.py")
    assert plugin.path == tmp_path / "my_lab"
    assert sys.modules["my_lab"].numbers.ONE == 1


def test_a_module_is_found_from_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "my_lab" / "__init__.py", "")
    written(tmp_path / "my_lab" / "more.py", CONSTRUCTION.format(name="more"))
    monkeypatch.chdir(tmp_path)
    plugin = import_plugin("my_lab.more", tmp_path)
    assert plugin.sources == expected_hash(tmp_path, "my_lab/__init__.py", "my_lab/more.py")
    assert [str(one) for one in imported_plugins()] == [f"my_lab.more@{plugin.sources}"]
    assert "more" in constructions


def test_installed_distributions_declare_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path / "their_lab.py", CONSTRUCTION.format(name="theirs"))
    facts = tmp_path / "their_lab_dist-1.2.dist-info"
    written(facts / "METADATA", "Metadata-Version: 2.1\nName: their-lab-dist\nVersion: 1.2\n")
    written(facts / "top_level.txt", "their_lab\n")
    written(facts / "RECORD", "their_lab.py,,\n")
    written(facts / "entry_points.txt", "[single_basin.plugins]\ntheirs = their_lab\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import_plugins([])
    (plugin,) = imported_plugins()
    assert str(plugin) == f"their_lab==1.2@{expected_hash(tmp_path, 'their_lab.py')}"
    assert "theirs" in constructions


def test_a_plugin_with_other_sources_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "my_lab.py", "")
    here = str(import_plugin("my_lab.py", tmp_path))
    with pytest.raises(UsageError, match=f"has plugin {here}, but the sweep was launched with my_lab@0000: install"):
        check_plugins("my_lab@0000")
    with pytest.raises(UsageError, match="--import nowhere_at_all: ModuleNotFoundError"):
        check_plugins("nowhere_at_all@0000")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("lab.py", None, "expected a .py file or the folder of a package, found no .*lab.py"),
        ("torch.py", "", "'torch' is no free name of a module: rename the file"),
        ("my-lab.py", "", "'my-lab' is no free name of a module: rename the file"),
        ("lab.py", "one = 1\nzero = one / 0\n", r"ZeroDivisionError: division by zero \(.*lab.py:2\)"),
        ("lab.py", "one = 1\nzero = = 2\n", r"SyntaxError: invalid syntax \(.*lab.py:2\)$"),
        ("lab.py", CONSTRUCTION.format(name="deep"), "AssertionError: two entries for construction 'deep'"),
        ("lab.py", "from basin.errors import UsageError\nraise UsageError('what is wrong')", "what is wrong"),
        ("my lab", "", "expected the name of a module, or the path of a .py file"),
    ],
)
def test_what_is_wrong_with_a_plugin_is_said(name: str, text: str | None, words: str, tmp_path: Path) -> None:
    if text is not None:
        written(tmp_path / name, text)
    with pytest.raises(UsageError, match=words):
        import_plugin(name, tmp_path)
    assert imported_plugins() == []
    if name == "lab.py":  # mended, it is imported
        written(tmp_path / name, "")
        assert import_plugin(name, tmp_path).name == "lab"


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        written(tmp_path / folder / "lab.py", "")
    import_plugin("one/lab.py", tmp_path)
    with pytest.raises(UsageError, match=r"plugin lab is .*one/lab\.py already: rename one of the two"):
        import_plugin("two/lab.py", tmp_path)
