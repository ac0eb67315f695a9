"""Build hook: the wheel holds one package, `basin`; the packages that it imports from this folder become parts of it.

`stats/` is copied to `basin/_stats`, and its imports are renamed in the copy. Editable installs keep the folder as it
is.
"""

import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

IMPORT = re.compile(r"^(\s*(?:from|import)\s+)stats\b", re.MULTILINE)


def copy_packages(root: Path, target: Path) -> Path:
    """Copy `basin` and `stats` into `target/basin`, with imports renamed; return that folder."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(root / "basin", target / "basin", ignore=ignore)
    shutil.copytree(root / "stats", target / "basin" / "_stats", ignore=ignore)
    for file in (target / "basin").rglob("*.py"):
        file.write_text(rename_imports(file.read_text(encoding="utf-8")), encoding="utf-8")
    return target / "basin"


def rename_imports(source: str) -> str:
    """The source with imports of `stats` as imports of `basin._stats`.

    Raises ValueError for `import stats` without `from`, which would bind another name.
    """
    if re.search(r"^\s*import\s+stats\b", source, re.MULTILINE):
        raise ValueError("import stats: expected from stats... import ...")
    return IMPORT.sub(r"\1basin._stats", source)


class PackageHook(BuildHookInterface):  # type: ignore[type-arg]
    """Puts the renamed copy into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Prepare the copy."""
        if version == "editable":
            return
        self._folder = tempfile.TemporaryDirectory()
        build_data["force_include"][str(copy_packages(Path(self.root), Path(self._folder.name)))] = "basin"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Delete the copy."""
        if version != "editable":
            self._folder.cleanup()
