"""The commands about one trial: show it, run it again, export it. Heavy imports wait until a command runs."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from basin.errors import UsageError
from cli.completion import complete_key
from cli.options import RESULTS, Storage, sweep_name
from cli.run import console

if TYPE_CHECKING:
    from basin.loaded import LoadedEnsemble
    from sweeps.execution.rerun import Rerun
    from sweeps.queries.trial_record import Column, TrialRecord

Key = Annotated[
    str, typer.Argument(metavar="KEY", help="Key of a trial, or its first digits.", autocompletion=complete_key)
]
Sweep = Annotated[
    str | None, typer.Option("--name", metavar="SWEEP", help="Its sweep. Default: search all.", callback=sweep_name)
]
SPLITS = ("val", "test", "train")


def show(key: Key, name: Sweep = None, storage: Storage = RESULTS) -> None:
    """Show one trial: settings, scores, files, and how to run it again.

    Settings that differ from the sweep's study come first.
    Example: python launch.py show 2d22d463
    """
    from sweeps.queries.trial_record import read_record

    record = read_record(storage, key, name)
    _print_names(record)
    _print_settings(record)
    _print_scores(record)
    for title, columns in (("cost", record.section("cost")), ("provenance", record.section("provenance"))):
        _print_columns(title, columns)
    _print_files(record)
    console().print(f"\nrun it again, in a temporary folder:\n  {record.rerun_command()}")


def rerun(
    key: Key,
    name: Sweep = None,
    storage: Storage = RESULTS,
    data: Annotated[Path | None, typer.Option(metavar="PATH", help="Dataset. Default: the sweep's.")] = None,
    ood_data: Annotated[Path | None, typer.Option(metavar="PATH", help="Dataset of ood. Default: the sweep's.")] = None,
    cache: Annotated[Path | None, typer.Option(metavar="PATH", help="Decoded datasets. Default: ~/.cache.")] = None,
    keep: Annotated[Path | None, typer.Option(metavar="PATH", help="Keep networks and tables here.")] = None,
) -> None:
    """Run one trial again, and compare every number bit for bit.

    Trains in a temporary folder, its stages too; the sweep is not changed.
    Exit code 0: all numbers are the same; 1: some differ, and by how much.
    Example: python launch.py rerun 2d22d463 --keep again
    """
    from sweeps.queries.trial_record import read_record

    record = read_record(storage, key, name)
    if keep and keep.exists():
        raise UsageError(f"--keep {keep}: exists already; give a new folder")
    from basin.environment import Place, default_cache
    from sweeps.execution.rerun import rerun_trial
    from sweeps.storage.store import Store

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = keep.expanduser() if keep else Path(temporary)
        place = Place(
            data=data.expanduser() if data else existing(record.source()),
            ood_data=ood_data.expanduser() if ood_data else existing(record.source("ood_source")),
            cache=cache.expanduser() if cache else default_cache(),
            runs=folder / "runs",
        )
        console().print(f"running trial {record.key} of sweep {record.folder.name} again, in {folder}")
        done = rerun_trial(Store(record.folder), record.key, folder, place)
    _print_rerun(done, keep)


ExportFormat = Literal["mlflow", "torch", "onnx", "folder"]
SUFFIXES = {"mlflow": "-mlflow", "torch": ".pt2", "onnx": ".onnx"}
"""Ends of the default names; that of a folder is the key alone."""


def export(
    key: Key,
    output: Annotated[ExportFormat, typer.Option("--format", metavar="NAME", help="mlflow, torch, onnx or folder.")],
    soup: Annotated[bool, typer.Option("--soup", help="The soup (one network) instead.")] = False,
    out: Annotated[Path | None, typer.Option(metavar="PATH", help="File or folder to write. Default: by key.")] = None,
    register: Annotated[str | None, typer.Option(metavar="MODEL", help="Register it in MLflow (mlflow only).")] = None,
    name: Sweep = None,
    storage: Storage = RESULTS,
    tracking_uri: Annotated[str | None, typer.Option(metavar="URI", help="MLflow store for --register.")] = None,
) -> None:
    """Export a trained ensemble for use without this project.

    It takes uint8 images of any batch size and returns class probabilities.
    mlflow: a model from code; torch: a torch.export program (.pt2); onnx: an ONNX
    model; folder: safetensors, program and a model card.
    Example: python launch.py export 2d22d463 --format torch --out model.pt2
    """
    from sweeps.queries.trial_record import read_record

    if register and output != "mlflow":
        raise UsageError(f"--register {register}: needs --format mlflow")
    record = read_record(storage, key, name)
    stem = f"{record.key}-soup" if soup else record.key
    target = out.expanduser() if out else Path(stem + SUFFIXES.get(output, ""))
    if target.exists():
        raise UsageError(f"--out {target}: exists already; give another path")
    from basin.loaded import load

    ensemble = load(record.folder, record.key)
    if register:
        _register_export(ensemble, register, tracking_uri, storage, soup)
    _write_export(ensemble, output, target, soup, record.folder)
    console().print(f"{'soup' if soup else 'ensemble'} of trial {record.key} in {target}")


def _register_export(
    ensemble: "LoadedEnsemble", model: str, tracking_uri: str | None, storage: Path, soup: bool
) -> None:
    from sweeps.tracking.model_export import register_model
    from sweeps.tracking.uri import default_uri

    version = register_model(ensemble, model, tracking_uri or default_uri(storage), soup=soup)
    console().print(f"registered in MLflow as {model}, version {version}")


def _write_export(ensemble: "LoadedEnsemble", output: ExportFormat, target: Path, soup: bool, folder: Path) -> None:
    if output == "mlflow":
        from sweeps.tracking.model_export import save_model

        save_model(ensemble, target, soup=soup)
        return
    from basin.export import export_folder, export_onnx, export_program

    if output == "torch":
        export_program(ensemble, target, soup=soup)
    elif output == "onnx":
        export_onnx(ensemble, target, soup=soup)
    else:
        from sweeps.queries.interval_scores import interval_scores
        from sweeps.storage.store import Store

        export_folder(ensemble, target, interval_scores(Store(folder), ensemble.row, soup=soup), soup=soup)


def existing(path: Path | None) -> Path | None:
    """The path if it is on this machine."""
    return path if path and path.exists() else None


def _print_rerun(done: "Rerun", keep: Path | None) -> None:
    for name, (then, now) in done.circumstances.items():
        console().print(f"other {name}: {then} then, {now} now")
    if keep:
        console().print(f"networks and tables are in {done.store.folder}")
    if done.published:
        console().print("published results per image are a rounded part: losses and validation images are not compared")
    if not done.differences:
        console().print(f"same: all {done.columns} columns of its tables are equal, bit for bit")
        return
    table = Table("table", "column", "values that differ", "largest difference", title="different")
    for one in done.differences:
        largest = "" if one.largest is None else f"{one.largest:.3g}"
        table.add_row(one.table, one.column, f"{one.count:,} of {one.total:,}", largest)
    console().print(table)
    console().print(f"different: {len(done.differences)} of {done.columns} columns are not the same")
    raise typer.Exit(1)


def _print_names(record: "TrialRecord") -> None:
    row = record.row
    seed = f"{row['construction']} of {row['model']} on {row['dataset']}, seed {row['seed']}"
    console().print(f"trial {record.key}: {seed} ({row.get('status', 'done')})")
    _print_columns("names", record.section("identity"))


def _print_settings(record: "TrialRecord") -> None:
    table = Table("setting", "value", "study's", title="settings; those that differ from the study first")
    for setting in record.settings():
        shown = _format_value(setting.default) if setting.differs else ""
        table.add_row(setting.name, _format_value(setting.value), shown)
    console().print(table)


def _print_scores(record: "TrialRecord") -> None:
    _print_columns("verdict of this seed", record.verdict())
    metrics: dict[str, dict[str, Column]] = {}
    for column in record.section("score"):
        split, _, metric = column.name.partition("_")
        named = (metric, split) if split in SPLITS else (column.name, "")
        metrics.setdefault(named[0], {})[named[1]] = column
    if not metrics:
        return
    splits = [split for split in SPLITS if any(split in columns for columns in metrics.values())]
    table = Table("score", *splits, "unit", "better", title="scores")
    for metric, columns in metrics.items():
        first = next(iter(columns.values()))
        values = [_format_value(columns[split].value) if split in columns else "" for split in splits]
        whole = _format_value(columns[""].value) if "" in columns else values[0]
        table.add_row(metric, whole, *values[1:], first.unit, first.better)
    console().print(table)


def _print_columns(title: str, columns: "list[Column]") -> None:
    if columns:
        table = Table("column", "value", "unit", title=title)
        for column in columns:
            table.add_row(column.name, _format_value(column.value), column.unit)
        console().print(table)


def _print_files(record: "TrialRecord") -> None:
    table = Table(title=f"files in {record.folder}")
    table.add_column("file", overflow="fold")
    table.add_column("bytes")
    for path in record.files():
        table.add_row(str(path.relative_to(record.folder)), f"{path.stat().st_size:,}")
    if not record.weights.exists():
        table.add_row(str(record.weights.relative_to(record.folder)), "not kept")
    console().print(table)
    stages = record.stages()
    if stages is None:
        console().print("stages: not recorded with its networks")
        return
    table = Table(title="stages it was built from")
    table.add_column("stage", overflow="fold")
    table.add_column("state")
    for stage in stages:
        name = str(stage.path.relative_to(record.folder.parent))
        table.add_row(name, "stored" if stage.path.exists() else "not there")
    console().print(table)


def _format_value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)
