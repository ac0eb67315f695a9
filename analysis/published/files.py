"""Publish a sweep's results in a few files, and restore a sweep's folder from them.

One Parquet file a table holds the rows of all trials, sorted by key, one row group for each batch of trials. Equal
results give equal bytes.
"""

import io
import json
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from analysis.data.results import Row, read_file, read_tables
from analysis.errors import BadInput
from analysis.published import image_table
from basin.files import read_object, write_atomically
from sweeps.storage.roles import REPORTED
from sweeps.storage.table_file import SIBLINGS, encode_table

LIMIT = 20_000_000
"""Bytes of all published sweeps together: they are part of the code's history."""
LEFT_OUT = ("predictions",)
"""Tables that are not published: probabilities of every class, image and member."""
IMAGES = "outcomes"
TRIALS = "trials"
STUDY, MANIFEST, VERDICTS = "study.toml", "sweep.json", "verdicts.json"
PLACES = ("source", "ood_source")
"""Entries of the manifest's data with paths of the machine that ran it."""
LEVEL = 19
"""Level of zstd: a published file is written once and read often."""


@dataclass(frozen=True)
class Published:
    """Files of a published sweep."""

    folder: Path
    trials: int
    sizes: dict[str, int]
    """File → bytes."""
    changed: bool
    """True if any file differs from what was there."""


def publish(sweep: Path, target: Path, study: Path | None = None) -> Published:
    """Write the finished trials of a sweep, complete or not, to `target`; files that would be the same stay untouched.

    `study` is the study file that was run; it may be left out once it is there. Raises BadInput without it, if the
    folder has no finished trials or a damaged file, and if `target` has trials that the folder lacks.
    """
    text = _study_text(study or target / STUDY)
    rows = {row["key"]: row for row in read_tables(sweep).rows}
    kept = set(_keys_of(target))
    if lost := sorted(kept - rows.keys()):
        raise BadInput(
            f"{target} has {len(lost)} trials that {sweep} lacks ({', '.join(lost[:3])}): restore them first with "
            f"`python -m analysis restore {target.name}`, or delete {target}"
        )
    contents = {STUDY: text, MANIFEST: _manifest_text(sweep)}
    if verdicts := read_object(sweep / VERDICTS):
        contents[VERDICTS] = _json_bytes(verdicts)
    for folder in sorted((sweep / "tables").iterdir()):
        if folder.is_dir() and folder.name not in LEFT_OUT and (table := _join_trials(folder, rows)):
            contents[f"{folder.name}.parquet"] = table
    stale = [file for file in (*target.glob("*.parquet"), target / VERDICTS) if file.name not in contents]
    stale = [file for file in stale if file.exists()]
    changed = [name for name, content in contents.items() if _content(target / name) != content]
    for name in changed:
        write_atomically(target / name, contents[name])
    for file in stale:
        file.unlink()
    return Published(target, len(rows), {n: len(content) for n, content in contents.items()}, bool(changed or stale))


def restore(published: Path, sweep: Path) -> int:
    """Write the published trials that a sweep's folder lacks, the row of `trials` last; return their number.

    What the folder has stays as it is: it may have run more. Raises BadInput for a folder that is no published sweep,
    and for a folder with another study.
    """
    manifest = read_object(published / MANIFEST)
    keys = _keys_of(published)
    if not manifest or not keys:
        raise BadInput(f"{published}: expected a published sweep, with {MANIFEST} and {TRIALS}.parquet")
    known = read_object(sweep / MANIFEST)
    if known and known.get("identity") != manifest.get("identity"):
        raise BadInput(f"{sweep} holds another sweep than {published}: give another --storage")
    missing = [key for key in keys if not (sweep / "tables" / TRIALS / f"{key}.parquet").exists()]
    files = sorted(published.glob("*.parquet"), key=lambda file: (file.stem == TRIALS, file.stem))
    for file in files:
        for key, table in _split_trials(file, missing):
            write_atomically(sweep / "tables" / file.stem / f"{key}.parquet", encode_table(table))
    for name in (MANIFEST, VERDICTS):
        if (published / name).exists() and not (sweep / name).exists():
            write_atomically(sweep / name, (published / name).read_bytes())
    return len(missing)


def list_published(folder: Path) -> list[Path]:
    """Return the published sweeps of a folder, by name."""
    return sorted(file.parent for file in folder.glob(f"*/{TRIALS}.parquet"))


def dataset_names(folder: Path) -> dict[str, str]:
    """Return the names that `datasets.toml` gives to images, by their hash; none without the file.

    Raises BadInput if the file is damaged.
    """
    return {key: name for key, name in _read_datasets(folder).items() if isinstance(name, str)}


def dataset_notes(folder: Path) -> dict[str, str]:
    """Return what `datasets.toml` says of datasets, by name; none without the file. Raises BadInput if damaged."""
    return dict(_read_datasets(folder).get("notes", {}))


def _read_datasets(folder: Path) -> dict[str, Any]:
    file = folder / "datasets.toml"
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise BadInput(f"{file}: {error}") from error


def study_summary(published: Path) -> str:
    """Return the summary that the study file gives, or an empty text."""
    try:
        return str(tomllib.loads((published / STUDY).read_text(encoding="utf-8")).get("summary", ""))
    except (OSError, ValueError):
        return ""


def _study_text(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        raise BadInput(
            f"{file}: no such file: name the study file with --study; "
            "`launch.py studies NAME --toml` prints that of a built-in study"
        ) from None


def _manifest_text(sweep: Path) -> bytes:
    manifest = read_object(sweep / MANIFEST)
    if not manifest:
        raise BadInput(f"{sweep / MANIFEST}: no such file, or damaged: expected the folder of a sweep")
    if data := manifest.get("data"):
        manifest["data"] = {name: None if name in PLACES else value for name, value in data.items()}
    return _json_bytes(manifest)


def _json_bytes(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _join_trials(folder: Path, rows: dict[str, Row]) -> bytes | None:
    """Return the file of a table with the rows of all trials that have some; None if none has."""
    parts = []
    for key, row in sorted(rows.items()):
        file = folder / f"{key}.parquet"
        if not file.exists() or (folder.name == IMAGES and row["role"] not in REPORTED):
            continue
        table = read_file(file)
        parts.append(image_table.encode(image_table.trim(table, row)) if folder.name == IMAGES else table)
    return encode_tables(parts) if parts else None


def encode_tables(parts: Sequence[pa.Table]) -> bytes:
    """Encode tables as one file; a column that some of them lack is null there."""
    whole = pa.concat_tables(parts, promote_options="permissive").combine_chunks()
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(whole, buffer, compression="zstd", compression_level=LEVEL, use_dictionary=True)
    return buffer.getvalue()


def _keys_of(published: Path) -> list[str]:
    file = published / f"{TRIALS}.parquet"
    if not file.exists():
        return []
    with pyarrow.parquet.ParquetFile(file) as opened:
        return sorted(opened.read(["key"])["key"].to_pylist())


def _split_trials(file: Path, keys: Iterable[str]) -> Iterator[tuple[str, pa.Table]]:
    """Yield the rows of each of these trials that has some; none too where every trial has a file."""
    wanted = set(keys)
    if not wanted:
        return
    with pyarrow.parquet.ParquetFile(file) as opened:
        table = opened.read(use_threads=False)
    if file.stem == IMAGES:
        table = image_table.decode(table)
    names = table["key"].to_pylist()
    ends = [at for at, name in enumerate(names, 1) if at == len(names) or names[at] != name]
    for start, end in pairwise([0, *ends]):
        if names[start] in wanted:
            yield names[start], table.slice(start, end - start).combine_chunks()
    if file.stem in SIBLINGS:
        for key in sorted(wanted.difference(names)):
            yield key, table.slice(0, 0)


def _content(file: Path) -> bytes | None:
    return file.read_bytes() if file.exists() else None
