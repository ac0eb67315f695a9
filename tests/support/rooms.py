"""Draw the packages and the imports between them: `python -m tests.support.rooms` writes docs/images/rooms.svg."""

import ast
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PICTURE = ROOT / "docs" / "images" / "rooms.svg"
CHAIN = "data flow one way"
INSIDE = "inside sweeps"
WIDTH, HEIGHT = 920, 540


@dataclass(frozen=True)
class Box:
    """Where a package is drawn."""

    x: int
    y: int
    width: int
    height: int

    @property
    def bottom(self) -> int:
        return self.y + self.height

    @property
    def middle(self) -> int:
        return self.y + self.height // 2


BOXES = {
    "launch": Box(20, 20, 880, 40),
    "cli": Box(20, 100, 880, 66),
    "analysis": Box(20, 206, 400, 136),
    "sweeps": Box(500, 206, 400, 136),
    "basin": Box(500, 384, 400, 136),
    "stats": Box(20, 384, 400, 136),
}
ARROWS = (
    ("launch", "cli"),
    ("cli", "analysis"),
    ("cli", "sweeps"),
    ("analysis", "sweeps"),
    ("analysis", "stats"),
    ("sweeps", "basin"),
    ("basin", "stats"),
)
"""Imports that are drawn; longer ones, such as from cli to basin, follow them."""


def contracts() -> dict[str, list[str]]:
    """Layers of the import contracts, from the top, by the contract's name."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return {each["name"]: each["layers"] for each in settings["tool"]["importlinter"]["contracts"] if "layers" in each}


def modules(room: str) -> list[Path]:
    """Source files of a package, or the one of a module."""
    return sorted((ROOT / room).rglob("*.py")) or [ROOT / f"{room}.py"]


def imported(file: Path) -> Iterator[str]:
    """Full names of the modules that a file imports."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def edges() -> set[tuple[str, str]]:
    """Pairs of rooms of which the first imports the second."""
    rooms = set(BOXES)
    return {
        (room, name.partition(".")[0])
        for room in rooms
        for file in modules(room)
        for name in imported(file)
        if name.partition(".")[0] in rooms - {room}
    }


def parts_used(room: str, other: str) -> list[str]:
    """Parts of the package `other` that `room` imports."""
    names = {name for file in modules(room) for name in imported(file) if name.startswith(f"{other}.")}
    return sorted({name.split(".")[1] for name in names})


def doc(package: Path) -> str:
    """First line of a package's docstring, without its full stop."""
    source = (package / "__init__.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0].rstrip(".")


def subpackages(room: str) -> list[str]:
    """Packages inside a room."""
    return sorted(path.parent.name for path in (ROOT / room).glob("*/__init__.py"))


def lines_of(room: str) -> list[str]:
    """Text inside a room's box: what the package is, then its parts."""
    if room == "launch":
        return ["from cli.app import main"]
    lines = [doc(ROOT / room)]
    if room == "sweeps":
        layers = [layer.replace(" : ", " | ") for layer in contracts()[INSIDE]]
        return [*lines, "", "inside: " + " → ".join(layers)]
    if parts := subpackages(room):
        return [*lines, "", "inside: " + ", ".join(parts)]
    return lines


def drawing() -> str:
    """The picture as SVG."""
    order = ["launch", *contracts()[CHAIN]]
    assert set(order) == set(BOXES), f"rooms of the contract {CHAIN!r} and of this picture differ: {order}"
    missing = set(ARROWS) - edges()
    assert not missing, f"arrows without an import: {missing}"
    shapes = [_arrow(start, end) for start, end in ARROWS]
    for room, box in BOXES.items():
        shapes += _drawn_box(room, box)
    return "\n".join([_HEAD, *shapes, "</svg>", ""])


_HEAD = f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif"
font-size="14">
<title>Packages of single-basin; arrows point from a package to what it imports</title>
<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8" orient="auto">
<path d="M0 0 L10 5 L0 10 z" fill="#444"/></marker></defs>
<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>"""


def _drawn_box(room: str, box: Box) -> list[str]:
    title = f"{room}.py" if room == "launch" else f"{room}/"
    size = f'x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}"'
    shapes = [
        f'<rect {size} rx="8" fill="#eef3f8" stroke="#5b7fa3"/>',
        f'<text x="{box.x + 14}" y="{box.y + 25}" font-weight="bold" font-size="16">{title}</text>',
    ]
    wide = (box.width - 30) // 7
    lines = [part for line in lines_of(room) for part in textwrap.wrap(line, wide) or [""]]
    left, top = (box.x + 130, box.y + 25) if box.height < 60 else (box.x + 14, box.y + 48)
    shapes += [
        f'<text x="{left}" y="{top + 19 * row}" fill="#222">{escape(line)}</text>'
        for row, line in enumerate(lines)
        if line
    ]
    return shapes


def _arrow(start: str, end: str) -> str:
    source, target = BOXES[start], BOXES[end]
    if source.y == target.y:
        x, y = source.x + source.width, source.middle
        x2 = target.x
        if target.x < source.x:
            x, x2 = source.x, target.x + target.width
        names = [] if end == "stats" else parts_used(start, end)
        words = [
            f'<text x="{(x + x2) // 2}" y="{y + 20 + 17 * row}" text-anchor="middle" font-size="13">{name}</text>'
            for row, name in enumerate(names)
        ]
        return "\n".join([_line(x, y, x2, y), *words])
    middle = max(source.x, target.x) + min(source.width, target.width) // 2
    return _line(middle, source.bottom, middle, target.y)


def _line(x: int, y: int, x2: int, y2: int) -> str:
    return f'<line x1="{x}" y1="{y}" x2="{x2}" y2="{y2}" stroke="#444" stroke-width="1.6" marker-end="url(#tip)"/>'


if __name__ == "__main__":
    PICTURE.write_text(drawing(), encoding="utf-8")
    print(PICTURE.relative_to(ROOT))
