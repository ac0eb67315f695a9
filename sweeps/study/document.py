"""Study files as data: TOML or YAML, with the line of every key for messages. Needs no PyTorch."""

import re
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from basin.errors import UsageError, one_of

SUFFIXES = (".toml", ".yaml", ".yml")
"""Ends of the names of study files."""
KEYS: dict[str, type | tuple[type, ...]] = {
    "summary": str,
    "import": list,
    "data": str,
    "ood_data": str,
    "schedule": str,
    "constructions": list,
    "trials": int,
    "sampler": str,
    "scheduler": str,
    "replicates": int,
    "metrics": list,
    "margin": (int, float),
    "constraints": list,
    "references": list,
    "seeds": int,
    "plane_points": int,
    "base": dict,
    "fixed": dict,
    "search": dict,
    "grid": list,
}
"""Keys of a study file → type of the value."""
KINDS = {str: "a text", list: "a list", int: "an integer", dict: "a table", (int, float): "a number"}
TABLE = re.compile(r"\s*(\[\[?)\s*([\w.-]+)\s*\]")
KEY = re.compile(r"""\s*["']?([\w-]+)["']?\s*=""")
Path_ = tuple[str | int, ...]
"""Keys and list indices that lead to a value."""


@dataclass(frozen=True)
class Document:
    """A study file that has been read."""

    file: Path
    content: Mapping[str, Any]
    lines: Mapping[Path_, int]
    """Line of each key, from 1."""

    @contextmanager
    def located(self, *path: str | int) -> Iterator[None]:
        """Put file and line of a key before the message of a UsageError."""
        try:
            yield
        except UsageError as error:
            raise UsageError(f"{self.file}:{self.line(*path)}: {error}") from None

    def line(self, *path: str | int) -> int:
        """Line of a key, or of the nearest one around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)

    def texts(self, key: str) -> list[str]:
        """A list of texts; empty if the file does not have it. Raises UsageError for other values."""
        values = self.content.get(key, [])
        with self.located(key):
            for value in values:
                if not isinstance(value, str):
                    raise UsageError(f"{key}: expected texts, got {value}")
        return list(values)

    def path(self, key: str) -> Path | None:
        """A path, relative to the folder of the file; None if the file does not have it."""
        value = self.content.get(key)
        return None if value is None else self.file.parent / Path(value).expanduser()


def is_study_file(name: str) -> bool:
    """Tell whether the name of a study is that of a file."""
    return name.endswith(SUFFIXES)


def read_document(file: Path) -> Document:
    """Read a study file; raises UsageError if it cannot be read, or has unknown keys or values of another type."""
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{file}: expected a study file: {getattr(error, 'strerror', None) or error}") from None
    document = Document(file, *(_read_toml(file, text) if file.suffix == ".toml" else _read_yaml(file, text)))
    for key, value in document.content.items():
        with document.located(key):
            _check_key(key, value)
    return document


def _check_key(key: str, value: object) -> None:
    if key not in KEYS:
        raise UsageError(f"{one_of('key of a study file', key, KEYS)}; fields of a trial belong under [base]")
    kind = KEYS[key]
    if not isinstance(value, kind) or isinstance(value, bool):
        raise UsageError(f"{key}: expected {KINDS[kind]}, got {value}")


def _read_toml(file: Path, text: str) -> tuple[dict[str, Any], dict[Path_, int]]:
    try:
        return tomllib.loads(text), _toml_lines(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        where = f"{file}:{line.group(1) if line else text.count(chr(10)) + 1}"
        raise UsageError(f"{where}: {error}") from None


def _toml_lines(text: str) -> dict[Path_, int]:
    """Line of each table and of each key that begins a line; Python's reader does not tell them."""
    lines: dict[Path_, int] = {}
    prefix: Path_ = ()
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if table := TABLE.match(line):
            prefix = tuple(table.group(2).split("."))
            if table.group(1) == "[[":
                counts[table.group(2)] = counts.get(table.group(2), -1) + 1
                lines.setdefault(prefix, number)
                prefix = (*prefix, counts[table.group(2)])
            lines.setdefault(prefix, number)
        elif key := KEY.match(line):
            lines.setdefault((*prefix, key.group(1)), number)
    return lines


def _read_yaml(file: Path, text: str) -> tuple[dict[str, Any], dict[Path_, int]]:
    import yaml

    lines: dict[Path_, int] = {}
    try:
        tree = yaml.compose(text, yaml.SafeLoader)
        content = yaml.safe_load(text)
        if tree is not None:
            _yaml_lines(file, tree, (), lines)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{file}:{mark.line + 1 if mark else 1}"
        raise UsageError(f"{where}: {getattr(error, 'problem', None) or error}") from None
    if not isinstance(content, dict):
        raise UsageError(f"{file}:1: expected keys and values, such as 'trials: 12'")
    return content, lines


def _yaml_lines(file: Path, node: Any, path: Path_, lines: dict[Path_, int]) -> None:
    """Note the line of each key; raises UsageError for a key that is there twice."""
    lines.setdefault(path, node.start_mark.line + 1)
    if node.id == "sequence":
        for index, item in enumerate(node.value):
            _yaml_lines(file, item, (*path, index), lines)
    elif node.id == "mapping":
        for key, value in node.value:
            below, number = (*path, key.value), key.start_mark.line + 1
            if below in lines:
                raise UsageError(f"{file}:{number}: {key.value} is already set in line {lines[below]}")
            lines[below] = number
            _yaml_lines(file, value, below, lines)
