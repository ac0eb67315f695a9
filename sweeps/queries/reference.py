"""Describe every field and column from where each is defined."""

import inspect
from dataclasses import dataclass
from difflib import get_close_matches

import pyarrow as pa

from basin.data import DataSplit
from basin.environment import Machine
from basin.errors import one_of
from basin.measure import Evaluation
from basin.spec import Field, describe_fields
from basin.training.loop import Training
from basin.trial import REGISTRIES
from sweeps.storage.schemas import SCHEMAS
from sweeps.study.domain import Domain

SHARED = {"split": DataSplit, "training": Training, "evaluation": Evaluation, "machine": Machine}
"""Sections whose fields every trial has → their class. The machine is no part of a trial's key."""


@dataclass(frozen=True)
class FieldEntry:
    """A field that `--set` and study files take."""

    section: str
    owners: tuple[str, ...]
    """Datasets, models or constructions that have it; empty if every trial has it."""
    field: Field

    @property
    def values(self) -> str:
        """Valid values, short: `≥ 1`, `0 to 1`, `sgd, adamw`."""
        field, bounds = self.field, self.field.bounds
        if field.choices or (field.kind is not int and field.kind is not float):
            words = ", ".join(map(str, field.choices)) or {bool: "true, false", str: "a name"}[field.kind]
        elif bounds.high < float("inf"):
            words = f"{bounds.low:g} to {bounds.high:g}"
        elif bounds.low > -float("inf"):
            words = f"≥ {bounds.low:g}"
        else:
            words = {int: "any integer", float: "any number"}[field.kind]
        return f"{words}, none" if field.optional else words

    @property
    def default(self) -> str:
        """The default as a study file writes it."""
        default = self.field.default
        if self.field.fixed:
            return "by name"
        if default is None or isinstance(default, bool):
            return str(default).lower()
        return default if isinstance(default, str) else f"{default:g}"

    @property
    def search(self) -> str:
        """What a search draws unless a study says otherwise; empty for fields that need stated values."""
        if self.section not in ("construction", "training") or (self.section == "training" and not self.field.search):
            return ""
        own = Domain.of(self.field).value
        return own if isinstance(own, str) else "its values" if own else ""

    @property
    def meaning(self) -> str:
        """The docstring in one line."""
        return " ".join(self.field.doc.split())


def field_entries() -> list[FieldEntry]:
    """Every field, those of datasets, models and constructions first; classes that define it alike share an entry."""
    owners: dict[tuple[str, Field], list[str]] = {}
    for section, registry in REGISTRIES.items():
        for name in registry.possible_names():
            for field in describe_fields(registry.entry(name)[0]):
                owners.setdefault((section, field), []).append(name)
    for section, cls in SHARED.items():
        owners |= {(section, field): [] for field in describe_fields(cls)}
    return [FieldEntry(section, tuple(names), field) for (section, field), names in owners.items()]


def find_field(name: str) -> list[FieldEntry]:
    """The entries of a field, one for each way in which it is defined; raises UsageError if there is none."""
    entries = field_entries()
    found = [entry for entry in entries if entry.field.name == name]
    if not found:
        raise one_of("field", name, {entry.field.name for entry in entries})
    return found


@dataclass(frozen=True)
class ColumnEntry:
    """A column of a result table."""

    name: str
    kind: str
    unit: str
    better: str
    """higher or lower; empty for columns that do not rank."""
    meaning: str


def table_meanings() -> dict[str, str]:
    """Table → what one row is."""
    return {name: (inspect.getdoc(schema) or "").partition("\n")[0] for name, schema in SCHEMAS.items()}


def column_entries(table: str) -> list[ColumnEntry]:
    """The columns of a table in order; raises UsageError if there is no such table."""
    if table not in SCHEMAS:
        raise one_of("table", table, SCHEMAS)
    return [_describe_column(column) for column in SCHEMAS[table]()]


def find_column(name: str) -> dict[str, ColumnEntry]:
    """Table → its column of this name; raises UsageError if there is none."""
    found: dict[str, ColumnEntry] = {}
    columns: set[str] = set()
    for table in SCHEMAS:
        entries = {entry.name: entry for entry in column_entries(table)}
        columns |= entries.keys()
        if name in entries:
            found[table] = entries[name]
    if not found:
        near = get_close_matches(name, columns, 1)  # without one, hundreds of names help less than those of the tables
        raise one_of("table or column", name, {*SCHEMAS, *near})
    return found


def _describe_column(column: pa.Field) -> ColumnEntry:
    facts = {key.decode(): value.decode() for key, value in (column.metadata or {}).items()}
    meaning = " ".join(facts.get("doc", "").split())
    better = facts.get("better", "")
    unit, way = facts.get("unit", ""), "" if better == "neither" else better
    return ColumnEntry(column.name, str(column.type), unit, way, meaning)
