"""Runs one benchmark and prints what it found.

Example: python -m benchmarks loader --repeats 7 --json
"""

import argparse
import ast
import importlib
import json
import sys
from pathlib import Path

import torch

from basin.errors import UsageError, one_of
from basin.place import Machine, Place, assignments
from benchmarks.options import Options
from benchmarks.report import Report, as_json, as_text


def main(arguments: list[str] | None = None) -> int:
    """Run a benchmark, or list those there are; exit code 2 for what the user can mend."""
    words = _parser().parse_args(arguments)
    try:
        if words.name is None:
            print("\n".join(f"{name:<16}{summary}" for name, summary in benchmarks().items()))
            return 0
        report = _run(words)
    except UsageError as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2
    print(json.dumps(as_json(report), indent=1) if words.json else as_text(report))
    return 0


def benchmarks() -> dict[str, str]:
    """Every module of this package that has a function `run`, and the first line of its docstring; none is imported."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("[!_]*.py")):
        tree = ast.parse(path.read_text())
        if any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in tree.body):
            found[path.stem.replace("_", "-")] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def _run(words: argparse.Namespace) -> Report:
    if words.name not in benchmarks():
        raise one_of("benchmark", words.name, benchmarks())
    threads = torch.get_num_threads() if words.threads is None else words.threads
    place = Place(machine=Machine(device=words.device, threads=threads), runs=Path())
    place.prepare()
    changes = assignments(words.set)
    options = Options(repeats=words.repeats, device=place.torch_device, data=words.data, changes=changes)
    module = importlib.import_module(f"benchmarks.{words.name.replace('-', '_')}")
    report: Report = module.run(options)
    return report


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description="Run a benchmark; without a name, list them.")
    parser.add_argument("name", nargs="?", help=", ".join(benchmarks()))
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument("--repeats", type=int, default=5, help="rounds that are timed (default 5)")
    parser.add_argument("--threads", type=int, help="torch's threads (default: torch's own choice)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="default: auto")
    parser.add_argument("--data", type=Path, help="real images: folder or archive (default: made-up images)")
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help="a benchmark's own settings")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
