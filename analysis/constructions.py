"""Facts about each construction: label, look, claim and comparisons. Others get the defaults of `Facts`."""

from collections.abc import Iterable
from dataclasses import dataclass

from basin.api.style import BLACK, BLUE, ORANGE, PURPLE, VERMILLION, Look

REFERENCE = "deep"
"""The construction that all others are compared with."""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Label, look, claim and comparisons of a construction."""

    label: str = ""
    """Its name in sentences; empty for the name itself."""
    look: Look | None = None
    """None takes the next look that no other construction has."""
    connected: bool = True
    """True if its members are claimed to be connected; sentences then judge the claim."""
    aligned: bool = False
    """True if its members compute what those of the reference do: differences in quality are rounding errors."""
    compared_with: tuple[str, ...] = (REFERENCE,)
    """Constructions that paired differences of connectivity, accuracy and NLL are taken from."""
    lead: int = 9
    """Rank in the sentence about midpoints; the lowest is its subject."""
    counterpart: str = "{} before"
    """Name of a vertex beyond its members in the figure of planes, from the number of the member."""


LISTED = {
    REFERENCE: Facts(look=Look(BLACK, "s"), connected=False, compared_with=()),
    "swe": Facts(label="SWE", look=Look(ORANGE, "^"), compared_with=(), lead=2),
    "constrained": Facts(look=Look(BLUE, "o"), lead=0),
    "permuted": Facts(look=Look(PURPLE, "v"), aligned=True, compared_with=(), lead=3),
    "distilled": Facts(
        look=Look(VERMILLION, "D"), compared_with=("constrained", REFERENCE), lead=1, counterpart="teacher {}"
    ),
}
"""Construction → its facts, in the order of tables, legends and sentences."""


def facts(name: str) -> Facts:
    """Return what is known of a construction, or the defaults."""
    return LISTED.get(name, Facts())


def label(name: str) -> str:
    """Return the name of a construction in a sentence: `SWE`, `constrained`."""
    return facts(name).label or name


def capitalised(name: str) -> str:
    """Return the name of a construction at the beginning of a sentence."""
    words = label(name)
    return words[:1].upper() + words[1:]


def order(names: Iterable[str]) -> list[str]:
    """Sort constructions: the listed ones in their order, then the others by name."""
    given = set(names)
    return [name for name in LISTED if name in given] + sorted(given - LISTED.keys())


def connected(names: Iterable[str]) -> list[str]:
    """Return those that claim connected members, in order."""
    return [name for name in order(names) if facts(name).connected]


def compared_pairs(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the pairs whose differences are stated, of the given constructions and the listed ones."""
    pairs = []
    for name in order([*LISTED, *names]):
        pairs += [(name, other) for other in facts(name).compared_with]
    return pairs
