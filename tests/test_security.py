"""What must not be: code from files or settings, open servers, secrets in what is written down."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from basin.environment import parse_settings
from basin.errors import UsageError
from sweeps.storage.address import hide_secrets
from sweeps.study.catalog import build
from sweeps.tracking.uri import unreachable_error

PACKAGES = ("basin", "sweeps", "analysis", "benchmarks", "stats", "cli")
LOADERS = {
    ("torch", "load"),
    ("pickle", "load"),
    ("pickle", "loads"),
    ("joblib", "load"),
    ("yaml", "load"),
    ("yaml", "unsafe_load"),
    ("os", "system"),
}
EVALUATORS = {"eval", "exec", "compile"}


def calls(root: Path) -> Iterator[tuple[Path, ast.Call]]:
    """Every call in the project's own code."""
    files = [root / "launch.py", *(path for name in PACKAGES for path in (root / name).rglob("*.py"))]
    assert len(files) > 100
    for path in files:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield path, node


def test_no_code_is_read_from_a_file_or_a_text(root: Path) -> None:
    """The one unpickler is a class that refuses everything but plain data, and is tested with the layouts."""
    for path, call in calls(root):
        what = call.func
        if isinstance(what, ast.Name):
            assert what.id not in EVALUATORS, path
        if isinstance(what, ast.Attribute) and isinstance(what.value, ast.Name):
            assert (what.value.id, what.attr) not in LOADERS, path
        for keyword in call.keywords:
            yes = isinstance(keyword.value, ast.Constant) and keyword.value.value is True
            assert not (keyword.arg in ("shell", "allow_pickle") and yes), path


@pytest.mark.parametrize(
    "text", ["__import__('os').system('touch {}')", "$(touch {})", "`touch {}`", "!!python/object"]
)
@pytest.mark.parametrize("field", ["epochs", "lr", "optimizer", "beta", "device", "predictions"])
def test_a_setting_is_never_evaluated(field: str, text: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    with pytest.raises(UsageError, match=f"{field}="):
        build("quickstart", None).with_settings(parse_settings([f"{field}={text.format(trace)}"])[1])
    assert not trace.exists()


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://user:geheim@host:5000/x", "http://***@host:5000/x"),
        ("postgresql+psycopg2://user:geheim@host/db", "postgresql+psycopg2://***@host/db"),
        ("postgresql://host/db?user=me&password=geheim&a=1", "postgresql://host/db?user=me&password=***&a=***"),
        ("sqlite:////folder/mlflow.db", "sqlite:////folder/mlflow.db"),
        ("no route to http://:geheim@host: gone", "no route to http://***@host: gone"),
    ],
)
def test_an_address_is_shown_without_its_secret(address: str, expected: str) -> None:
    assert hide_secrets(address) == expected
    assert "geheim" not in str(unreachable_error(address, RuntimeError(f"refused by {address}")))
