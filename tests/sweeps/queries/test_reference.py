"""Every field and column has a meaning, and the pages of the docs are those of the definitions."""

import re

import pytest

from basin.errors import UsageError
from basin.spec import describe_fields
from basin.training.loop import Training
from basin.trial import REGISTRIES
from sweeps.queries.reference import column_entries, field_entries, find_column, find_field, table_meanings
from sweeps.storage.columns import list_hyperparameters
from tests.support import reference_pages


def says_something(name: str, meaning: str) -> bool:
    """A sentence that is more than the name in words."""
    words = re.sub(r"\W+", " ", meaning.lower()).split()
    return meaning.endswith(".") and len(words) > 1 and words != name.lower().split("_")


def test_no_field_is_without_a_meaning() -> None:
    entries = field_entries()
    assert {entry.field.name for entry in entries} >= {field.name for field in list_hyperparameters()}
    assert [entry.field.name for entry in entries if not says_something(entry.field.name, entry.meaning)] == []


def test_no_column_is_without_a_meaning() -> None:
    silent = []
    for table, meaning in table_meanings().items():
        assert meaning.startswith("One row per ") or table == "trials"
        silent += [(table, c.name) for c in column_entries(table) if not says_something(c.name, c.meaning)]
    assert silent == []
    assert len(column_entries("trials")) > 200


def test_units_and_directions_are_known_ones() -> None:
    """A direction in the place of a unit, or the other way round, is neither."""
    units = {"", "accuracy points", "nats", "%", "1", "batches", "epochs", "images", "s", "weight", "norms", "logit"}
    columns = {table: column_entries(table) for table in table_meanings()}
    odd = [(table, c.name, c.unit) for table, entries in columns.items() for c in entries if c.unit not in units]
    odd += [(t, c.name, c.better) for t, es in columns.items() for c in es if c.better not in ("", "higher", "lower")]
    assert odd == []
    assert find_column("val_basin_mid_upper_reset")["history"].better == "lower"


def test_a_field_is_described_as_it_is_defined() -> None:
    (beta,) = find_field("beta")
    assert (beta.section, beta.owners) == ("construction", ("constrained", "distilled"))
    assert (beta.default, beta.values, beta.search) == ("1", "≥ 0", "0.01..10 log")
    (size,) = find_field("train_size")
    assert (size.default, size.values, size.field.unit, size.search) == ("none", "≥ 1, none", "images", "")
    (depth,) = find_field("depth")
    assert depth.default == "by name"
    (name,) = find_field("architecture")
    assert name.owners == ("torchvision:NAME",)
    assert {entry.owners[0] for entry in find_field("members")} >= {"constrained", "deep"}
    (lr,) = find_field("lr")
    assert lr.search == "0.01..0.5 log"
    assert find_field("optimizer")[0].search == ""  # it has choices, and is searched with stated values only
    with pytest.raises(UsageError, match=r"unknown field 'bete': did you mean 'beta'"):
        find_field("bete")
    with pytest.raises(UsageError, match=r"unknown table 'trial': did you mean 'trials'"):
        column_entries("trial")


def test_every_owner_has_the_field() -> None:
    for entry in field_entries():
        for owner in entry.owners:
            assert entry.field in describe_fields(REGISTRIES[entry.section].entry(owner)[0])
    assert {entry.field for entry in field_entries() if entry.section == "training"} == set(describe_fields(Training))


def test_the_pages_of_the_docs_are_the_ones_that_the_command_makes() -> None:
    for file, text in reference_pages.pages().items():
        assert file.read_text(encoding="utf-8") == text, "run `python -m tests.support.reference_pages` and commit"
