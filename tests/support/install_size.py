"""Sizes of what is installed, by groups of pyproject.toml: downloads from uv.lock, files from the running environment.

`python -m tests.support.install_size [FOLDER]` prints the table of docs/performance.md. FOLDER holds the uv.lock, that
of this project by default. To measure every group: `uv sync --all-extras --all-groups`, elsewhere than in `.venv`.
"""

import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from packaging.markers import Marker
from packaging.tags import sys_tags
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

Package = dict[str, Any]
PROJECT = "single-basin"
COMMANDS = ("plots", "tables", "sweeps", "analysis")
TAGS = {tag: rank for rank, tag in enumerate(sys_tags())}


class Lock:
    """A uv.lock as a graph, for this platform and this Python."""

    def __init__(self, folder: Path) -> None:
        packages = tomllib.loads((folder / "uv.lock").read_text(encoding="utf-8"))["package"]
        self.packages: dict[tuple[str, str], Package] = {(p["name"], p["version"]): p for p in packages}
        self.versions: dict[str, list[str]] = {}
        for name, version in self.packages:
            self.versions.setdefault(name, []).append(version)
        (version,) = self.versions[PROJECT]
        self.project = self.packages[PROJECT, version]

    def closure(self, edges: Iterable[Package]) -> set[tuple[str, str]]:
        """Name and version of every package that the edges need."""
        seen: set[tuple[tuple[str, str], str]] = set()
        waiting = list(edges)
        while waiting:
            for node in self._targets(waiting.pop()):
                if node not in seen:
                    seen.add(node)
                    waiting += self._edges(*node)
        return {package for package, _ in seen}

    def _targets(self, edge: Package) -> Iterator[tuple[tuple[str, str], str]]:
        """The package of an edge, without an extra and with each of its extras; nothing on other platforms."""
        if Marker(edge.get("marker", "python_version > '3'")).evaluate():
            version = edge["version"] if "version" in edge else self.versions[edge["name"]][0]
            for extra in ("", *edge.get("extra", [])):
                yield (edge["name"], version), extra

    def _edges(self, package: tuple[str, str], extra: str) -> list[Package]:
        found = self.packages[package]
        chosen = found.get("optional-dependencies", {}).get(extra, []) if extra else found.get("dependencies", [])
        return list(chosen)


def split_groups(lock: Lock) -> dict[str, set[tuple[str, str]]]:
    """Packages by group; each belongs to the first group that needs it."""
    project = lock.project
    extras, groups = project["optional-dependencies"], project["dev-dependencies"]
    library = lock.closure(project["dependencies"])
    cuda = {node for node in library if node[0].startswith(("nvidia-", "cuda-")) or node[0] == "triton"}
    found = {"library: CUDA": cuda, "library: the rest": library - cuda}
    found["commands"] = lock.closure(edge for name in COMMANDS for edge in extras[name])
    found["clusters and export"] = lock.closure(edge for edges in extras.values() for edge in edges)
    for name in sorted(groups, key=["test", "check", "dev", "docs", "bundle"].index):
        found[f"group {name}"] = lock.closure(groups[name])
    seen: set[tuple[str, str]] = set()
    for name, nodes in found.items():
        found[name] = nodes - seen
        seen |= nodes
    return found


def download_bytes(package: Package) -> int:
    """Size of the best wheel for this platform, else of the source."""
    ranked = []
    for wheel in package.get("wheels", []):
        try:
            tags = parse_wheel_filename(wheel["url"].rsplit("/")[-1])[3]
        except InvalidWheelFilename:
            continue
        ranked += [(TAGS[tag], wheel["size"]) for tag in tags if tag in TAGS]
    return int(min(ranked)[1] if ranked else package["sdist"]["size"])


def installed_bytes(name: str, version: str) -> int | None:
    """Size of a distribution's files, without compiled bytecode; None if it is not installed here."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return None
    if found.version != version:
        return None
    paths = [Path(str(found.locate_file(file))) for file in found.files or [] if not str(file).endswith(".pyc")]
    return sum(path.stat().st_size for path in paths if path.is_file())


def table(lock: Lock) -> list[str]:
    """Lines of a table in Markdown, sizes in MB."""
    lines = ["| | packages | download (MB) | installed (MB) | largest |", "|---|---|---|---|---|"]
    for group, nodes in split_groups(lock).items():
        sizes = {name: installed_bytes(name, version) for name, version in nodes}
        there = {name: size for name, size in sizes.items() if size is not None}
        largest = ", ".join(f"{name} {there[name] / 1e6:.0f}" for name in sorted(there, key=lambda n: -there[n])[:4])
        download = sum(download_bytes(lock.packages[node]) for node in nodes) / 1e6
        left = f" (without {len(sizes) - len(there)})" if len(there) < len(sizes) else ""
        installed = f"{sum(there.values()) / 1e6:,.0f}{left}"
        lines.append(f"| {group} | {len(nodes)} | {download:,.0f} | {installed} | {largest} |")
    return lines


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).resolve().parents[2]
    print("\n".join(table(Lock(folder))))
