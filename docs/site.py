"""A hook of MkDocs: adds to the site what lies outside docs/, and one page of reference for each package."""

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("basin", "sweeps", "stats", "analysis", "cli")
PAGES = {"index.md": "README.md", "contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}
"""Page of the site → document of the project's folder."""
REPORT = "gallery/report.html"
"""The sample report in the site. Documents name it by its file in build/site, which is a link in the site."""
LINK = re.compile(r"(\]\()(?!\w+:|#)([^)\s#]+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the pages that this hook makes."""
    assert config.nav is not None
    decisions = [f"decisions/{path.name}" for path in sorted((ROOT / "docs/decisions").glob("*.md"), key=_index_first)]
    for section in config.nav:
        if isinstance(section, dict) and "Design" in section:
            section["Design"][-1] = {"Decisions": decisions}
    config.nav.append({"Reference": [{package: _page(package)} for package in packages()]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add documents of the project's folder, files that the docs link to, and the reference."""
    for page, name in PAGES.items():
        files.append(File.generated(config, page, content=_moved((ROOT / name).read_text(encoding="utf-8"))))
    for package in packages():
        files.append(File.generated(config, _page(package), content=_reference(package)))
    files.append(File.generated(config, REPORT, content=_sample_report()))
    linked: set[Path] = set()
    for file in files.documentation_pages():
        linked |= set(_outside(file))
    for path in sorted(linked):
        files.append(File.generated(config, _source(path), content=(ROOT / path).read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links to files outside docs/ lead to their copies."""
    folder = Path(page.file.src_uri).parent

    def rewritten(match: re.Match[str]) -> str:
        path = _from_root(folder, match.group(2))
        up = "../" * len(folder.parts)
        return f"{match.group(1)}{up}{_source(path)}" if path else match.group(0)

    markdown = markdown.replace(f"`build/site/{REPORT}`", f"[{REPORT}]({'../' * len(folder.parts)}{REPORT})")
    return LINK.sub(rewritten, markdown)


def packages() -> list[str]:
    """Every package by its dotted name, rooms before what is in them."""
    names: list[str] = []
    for room in ROOMS:
        inits = sorted((ROOT / room).rglob("__init__.py"))
        names += [".".join(init.parent.relative_to(ROOT).parts) for init in inits]
    return names


def _sample_report() -> bytes:
    """The report of the results in docs/gallery, written now."""
    sys.path.insert(0, str(ROOT))
    from tests.support.gallery import report_page

    return report_page()


def _page(package: str) -> str:
    return f"reference/{package}.md"


def _reference(package: str) -> str:
    """A page for a package and its modules."""
    folder = ROOT / package.replace(".", "/")
    names = [f"{package}.{path.stem}" for path in sorted(folder.glob("*.py")) if not path.stem.startswith("__")]
    blocks = [f"::: {package}\n    options:\n      show_submodules: false\n      heading_level: 1"]
    return "\n\n".join([*blocks, *(f"::: {name}" for name in names), ""])


def _moved(text: str) -> str:
    """A document of the project's folder, its links as from docs/."""

    def moved(match: re.Match[str]) -> str:
        path = match.group(2)
        pages = {name: page for page, name in PAGES.items()}
        if path in pages:
            return f"{match.group(1)}{pages[path]}"
        return f"{match.group(1)}{path.removeprefix('docs/') if path.startswith('docs/') else f'../{path}'}"

    return LINK.sub(moved, text)


def _outside(file: File) -> list[str]:
    """Files outside docs/ that a page links to, as paths from the project's folder."""
    folder = Path(file.src_uri).parent
    paths = [_from_root(folder, path) for _, path in LINK.findall(file.content_string)]
    return [path for path in paths if path]


def _from_root(here: Path, link: str) -> str | None:
    """The path from the project's folder of a link that leaves docs/ and leads to a file."""
    path = (ROOT / "docs" / here / link).resolve()
    if path.is_relative_to(ROOT / "docs") or not path.is_file():
        return None
    return str(path.relative_to(ROOT))


def _source(path: str) -> str:
    """Where the copy of a file is in the site: a name that browsers show as text."""
    return f"source/{path}.txt"


def _index_first(path: Path) -> tuple[bool, str]:
    return path.name != "README.md", path.name
