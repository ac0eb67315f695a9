"""Values that a search draws of a field, stated by a user: a range or a list of choices."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from basin.errors import UsageError
from basin.spec import Field, Search, Value

RANGE = re.compile(r"\s*(\S+?)\s*\.\.\s*(\S+?)(\s+log)?\s*")
FORMS = "expected a range such as '0.01..3' or '0.01..3 log', or choices such as '0,0.5,1'"


@dataclass(frozen=True)
class Domain:
    """A range, or choices."""

    search: Search | None = None
    choices: tuple[Value, ...] = ()

    @classmethod
    def parse(cls, field: Field, stated: object) -> "Domain":
        """Parse `0.01..3 log`, `0,0.5,1` or a list by the field's type; raises UsageError if a value is invalid."""
        if isinstance(stated, list):
            return cls(choices=_parse_choices(field, stated))
        if match := RANGE.fullmatch(str(stated)):
            return cls(search=_parse_range(field, *match.groups()))
        if "," in str(stated):
            return cls(choices=_parse_choices(field, [text.strip() for text in str(stated).split(",")]))
        raise UsageError(f"{field.name}={stated}: {FORMS}; one value is not a search: set it with --set or [base]")

    @classmethod
    def of(cls, field: Field) -> "Domain":
        """The domain that the field itself defines."""
        return cls(field.search, field.choices)

    @property
    def value(self) -> str | list[Value]:
        """What `parse` reads: a text for a range, a list for choices."""
        if self.search is None:
            return list(self.choices)
        return f"{self.search.low!r}..{self.search.high!r}{' log' if self.search.log else ''}"

    def restrict(self, field: Field) -> Field:
        """The field with this domain in place of its own."""
        return replace(field, search=self.search, choices=self.choices)


def _parse_choices(field: Field, stated: Sequence[Any]) -> tuple[Value, ...]:
    choices = tuple(field.parse(value) for value in stated)
    if len(set(choices)) != len(choices) or len(choices) < 2:
        words = ", ".join(map(str, stated))
        raise UsageError(f"{field.name}={words}: expected two or more different choices")
    return choices


def _parse_range(field: Field, low: str, high: str, log: str | None) -> Search:
    if field.choices or field.kind not in (int, float):
        raise UsageError(f"{field.name}={low}..{high}: expected choices, such as 'a,b'; values are {field.expected}")
    ends = [end for end in (field.parse(low), field.parse(high)) if isinstance(end, int | float)]
    if len(ends) < 2 or ends[0] >= ends[1]:
        raise UsageError(f"{field.name}={low}..{high}: expected two numbers, the lower one first")
    if log and ends[0] <= 0:
        raise UsageError(f"{field.name}={low}..{high} log: expected ends above 0")
    return Search(ends[0], ends[1], log=bool(log))
