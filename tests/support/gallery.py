"""The committed results behind docs/gallery.md: how they were packed, the figures drawn from them, and their report.

`python -m tests.support.gallery pack results/gallery` packs a finished sweep of docs/gallery/gallery.toml.
`python -m tests.support.gallery draw` draws docs/gallery/NAME.png from the packed results.
"""

import hashlib
import io
import json
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from analysis.data.queries import read_tables
from analysis.errors import Missing
from analysis.output import registry, style
from analysis.output.write import draw_figure
from analysis.report import write_report

DOCS = Path(__file__).resolve().parents[2] / "docs"
FOLDER = DOCS / "gallery"
ARCHIVE = FOLDER / "results.tar.xz"
DPI = 110
COLOURS = 64
SMALL = ("trials", "members", "history", "paths")
"""Tables that are packed of every trial; the others only of references and fresh seeds."""
MARK = "results"
"""Text field of each picture with the hash of the results that it shows."""


@contextmanager
def unpacked_results() -> Iterator[Path]:
    """The folder of the sweep `gallery`, below a working directory that is removed afterwards."""
    with tempfile.TemporaryDirectory() as working, chdir(working):
        unpack(Path("results"))
        yield Path("results/gallery")


def unpack(storage: Path) -> None:
    """Put the sweep `gallery` into a storage."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(storage, filter="data")


def archive_hash() -> str:
    """16 hex digits of the packed results."""
    return hashlib.sha256(ARCHIVE.read_bytes()).hexdigest()[:16]


def pack(sweep: Path) -> None:
    """Pack manifest, verdicts and tables of a finished sweep; of search and grid only `SMALL`."""
    verdicts = json.loads((sweep / "verdicts.json").read_text(encoding="utf-8"))
    reported = {key for entry in verdicts.values() if entry["role"] != "grid" for key in entry["trials"]}
    files = [sweep / "sweep.json", sweep / "verdicts.json", *sorted(sweep.glob("tables/*/*.parquet"))]
    with tarfile.open(ARCHIVE, "w:xz", preset=9) as archive:
        for file in files:
            if file.parent.name in SMALL or file.stem in reported or file.suffix == ".json":
                archive.add(file, f"gallery/{file.relative_to(sweep)}", filter=_anonymous)


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def draw() -> None:
    """Draw every figure that the results have the data for."""
    with unpacked_results() as folder, style.house_style():
        tables = read_tables(folder)
        for entry in registry.figure_entries():
            try:
                figure = draw_figure(entry, tables).figure
            except Missing as missing:
                print(f"{entry.name}: {missing}")
                continue
            _save(figure, FOLDER / f"{entry.name}.png")


def _save(figure: Figure, file: Path) -> None:
    style.fix_layout(figure)
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=DPI)
    mark = PngInfo()
    mark.add_text(MARK, archive_hash())
    Image.open(drawn).convert("RGB").quantize(COLOURS).save(file, pnginfo=mark, optimize=True)
    print(f"{file.relative_to(DOCS.parent)}: {file.stat().st_size:,} bytes")


def report_page() -> bytes:
    """The report of the results."""
    with unpacked_results() as folder:
        return write_report(read_tables(folder), formats=[]).read_bytes()


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    if command == "pack":
        pack(Path(rest[0]))
        print(f"{ARCHIVE.relative_to(DOCS.parent)}: {ARCHIVE.stat().st_size:,} bytes")
        for picture in FOLDER.glob("*.png"):
            picture.unlink()  # those of other results
    draw()
