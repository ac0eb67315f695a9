"""Run one benchmark and print its results.

Example: python -m benchmarks loader --repeats 7 --json
"""

import argparse
import ast
import importlib
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType

import torch

from basin.command_line import Parser
from basin.environment import Machine, Place, parse_assignments
from basin.errors import UsageError, one_of
from basin.strict_json import dump_json
from benchmarks.options import Options
from benchmarks.progress import begin_progress, known_results
from benchmarks.report import Report, as_json, as_text


def main(arguments: list[str] | None = None) -> int:
    """Run a benchmark, or list those there are; exit code 2 for invalid input, 128 + its number after a signal."""
    try:
        return _run_command(_build_parser().parse_args(arguments))
    except UsageError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2


def _run_command(words: argparse.Namespace) -> int:
    if words.name is None:
        print("\n".join(f"{name:<20}{summary}" for name, summary in list_benchmarks().items()))
        return 0
    try:
        with _stoppable():
            report = _run_benchmark(words)
    except SystemExit as stopped:
        _print_known(words)
        return int(stopped.code or 0)
    print(dump_json(as_json(report), indent=1) if words.json else as_text(report))
    return 0


def list_benchmarks() -> dict[str, str]:
    """Every module of this package that has a function `run`, and the first line of its docstring; none is imported."""
    summaries = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        tree = ast.parse(path.read_text())
        if any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in tree.body):
            summaries[path.stem.replace("_", "-")] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return summaries


@contextmanager
def _stoppable() -> Iterator[None]:
    """Leave the block by SystemExit on Ctrl-C and SIGTERM, as sweeps within it do."""
    kept = {number: signal.signal(number, _stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def _stop(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _print_known(words: argparse.Namespace) -> None:
    """Print the results of a benchmark that was stopped."""
    known = known_results()
    if words.json:
        print(dump_json({"benchmark": words.name, "stopped": True, "known": known}, indent=1))
        return
    lines = [f"- {name}: {value}" for name, value in known.items()] or ["no result was known"]
    print("\n".join([f"# {words.name}, stopped before its end", "", *lines]))


def _run_benchmark(words: argparse.Namespace) -> Report:
    if words.name not in list_benchmarks():
        raise one_of("benchmark", words.name, list_benchmarks())
    threads = torch.get_num_threads() if words.threads is None else words.threads
    place = Place(machine=Machine(device=words.device, threads=threads), runs=Path())
    place.prepare()
    begin_progress()
    module = importlib.import_module(f"benchmarks.{words.name.replace('-', '_')}")
    changes = _quick_settings(words.name, module) if words.quick else {}
    changes |= parse_assignments(words.set)
    options = Options(repeats=words.repeats, device=place.torch_device, data=words.data, out=words.out, changes=changes)
    report: Report = module.run(options)
    return report


def _quick_settings(name: str, module: ModuleType) -> dict[str, str]:
    """Settings of the small size that a benchmark offers to try it out."""
    if not hasattr(module, "QUICK"):
        raise UsageError(f"--quick: {name} has no small size; make it smaller with --set, or --repeats 1")
    return dict(module.QUICK)


def _build_parser() -> Parser:
    parser = Parser("python -m benchmarks", description="Run a benchmark; without a name, list them.")
    parser.add_argument("name", nargs="?", help=", ".join(list_benchmarks()))
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--quick", action="store_true", help="a small size, to try the benchmark out")
    parser.add_argument("--repeats", type=int, default=5, help="rounds that are timed (default 5)")
    parser.add_argument("--threads", type=int, help="torch's threads (default: torch's own choice)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    parser.add_argument("--data", type=Path, help="folder or archive of real images (default: synthetic images)")
    parser.add_argument("--out", type=Path, help="file of result rows, written one by one; a second run adds to it")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="override a setting of the benchmark; repeatable",
    )
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
