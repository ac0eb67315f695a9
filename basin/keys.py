"""Keys: hashes of every value that a result depends on."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from basin.data import Dataset, DataSplit
from basin.spec import Value, acting_values, canonical_text

FORMAT = 2
"""Version of the key format: raised whenever keys are formed differently, so that formats never share a key.

Format 1, which is written in no file, left out default values.
"""

Contents = dict[str, Value]
"""`SECTION.FIELD` → value of everything that acts; `SECTION.version` if a class's meaning has changed."""


def hash_contents(contents: Mapping[str, Value]) -> str:
    """16 hex digits of the SHA-256 of the contents in canonical form."""
    return hashlib.sha256(canonical_text(contents).encode()).hexdigest()[:16]


def section_contents(name: str, instance: Any) -> Contents:
    """All that acts in one section of a trial, defaults of the code included, and its version beyond 1."""
    values = {f"{name}.{field}": value for field, value in acting_values(instance).items()}
    number = class_version(type(instance))
    return values | ({f"{name}.version": number} if number > 1 else {})


def class_version(cls: type) -> int:
    """A class's `version`, raised whenever a code change makes the same values give other results."""
    return int(getattr(cls, "version", 1))


def split_sizes(split: DataSplit, dataset: Dataset) -> Contents:
    """The dataset's defaults that act for fields of the split that are not set."""
    acting_values = {
        "train_size": split.train_size or dataset.train_size,
        "val_size": split.val_size or dataset.val_size,
        "augment": dataset.augment if split.augment == "default" else split.augment,
    }
    return {f"split.{name}": value for name, value in acting_values.items()}


def describe_differences(stored: Mapping[str, Value], current: Mapping[str, Value]) -> str:
    """The contents in which two differ, in words."""
    names = [name for name in sorted({*stored, *current}) if _value_text(stored, name) != _value_text(current, name)]
    return ", ".join(
        f"{name}={_value_text(stored, name)} there, {name}={_value_text(current, name)} here" for name in names
    )


def _value_text(contents: Mapping[str, Value], name: str) -> str:
    return json.dumps(contents[name], allow_nan=False) if name in contents else "nothing"
