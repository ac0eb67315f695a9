"""Count what a newcomer meets: files, folders, function lengths and names, tests and types.

    python -m tests.support.measure            this checkout
    python -m tests.support.measure OTHER      another checkout, then this one

Definitions: a function's length is its body in lines, without its docstring. Code lines are lines that hold code:
neither blank, nor only a comment or a docstring. A name has one word if there is no underscore inside it; special
methods (`__init__`) and `forward`, which PyTorch calls by its name, are left out.
"""

import argparse
import ast
import subprocess
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
Function = ast.FunctionDef | ast.AsyncFunctionDef
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FRAMEWORK_NAMES = frozenset({"forward"})
"""Methods whose name a library prescribes."""
NOT_THE_PROGRAM = ("tests", "benchmarks")


@dataclass
class PackageCounts:
    """What is counted in one package, or in several together."""

    files: int = 0
    folders: set[Path] = field(default_factory=set)
    code_lines: int = 0
    lengths: list[int] = field(default_factory=list)
    """Body lines of each function."""
    names: list[str] = field(default_factory=list)
    """Names of functions and methods, without leading and trailing underscores."""
    comprehensions: int = 0
    nested_comprehensions: int = 0
    """Comprehensions with two `for` clauses or more."""
    tests: int = 0
    assertions: int = 0
    """`assert` statements, `pytest.raises` and `assert_…` calls."""

    def add(self, other: "PackageCounts") -> None:
        """Add the counts of another package."""
        self.files += other.files
        self.folders |= other.folders
        self.code_lines += other.code_lines
        self.lengths += other.lengths
        self.names += other.names
        self.comprehensions += other.comprehensions
        self.nested_comprehensions += other.nested_comprehensions
        self.tests += other.tests
        self.assertions += other.assertions

    @property
    def one_word_share(self) -> float:
        """Percentage of the names that have one word; 0 without names."""
        return 100 * sum("_" not in name for name in self.names) / max(1, len(self.names))


def count_checkout(root: Path) -> dict[str, PackageCounts]:
    """Count every package of a checkout: folders at the top that hold Python files tracked by git."""
    packages: dict[str, PackageCounts] = {}
    for path in tracked_files(root):
        package, *inside = path.parts
        if inside:
            packages.setdefault(package, PackageCounts()).add(count_file(root, path))
    return packages


def tracked_files(root: Path) -> list[Path]:
    """Python files that git tracks, relative to `root`."""
    listed = subprocess.run(["git", "ls-files", "*.py"], cwd=root, check=True, capture_output=True, text=True)
    return [Path(line) for line in listed.stdout.splitlines() if (root / line).is_file()]


def count_file(root: Path, path: Path) -> PackageCounts:
    """Count one file."""
    source = (root / path).read_text()
    tree = ast.parse(source)
    counts = PackageCounts(files=1, folders={path.parent}, code_lines=count_code_lines(source, tree))
    for node in ast.walk(tree):
        if isinstance(node, Function):
            counts.lengths.append(body_length(node))
            if not node.name.startswith("__") and node.name not in FRAMEWORK_NAMES:
                counts.names.append(node.name.strip("_"))
            counts.tests += path.name.startswith("test_") and node.name.startswith("test_")
        elif isinstance(node, COMPREHENSIONS):
            counts.comprehensions += 1
            counts.nested_comprehensions += len(node.generators) > 1
        counts.assertions += is_assertion(node)
    return counts


def body_length(function: Function) -> int:
    """Lines of a function's body without its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def is_assertion(node: ast.AST) -> bool:
    """Whether a node states something that must hold."""
    if isinstance(node, ast.Assert):
        return True
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return False
    return node.func.attr == "raises" or node.func.attr.startswith("assert_")


def count_code_lines(source: str, tree: ast.Module) -> int:
    """Lines that hold code."""
    texts: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            texts |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    lines = enumerate(source.splitlines(), start=1)
    return sum(bool(line.strip()) and not line.strip().startswith("#") and n not in texts for n, line in lines)


def percentile(values: Sequence[int], share: float) -> int:
    """The smallest value that at least this share of all values does not exceed; 0 without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0


def type_checked_paths(root: Path) -> str:
    """What mypy checks, from pyproject.toml, and whether strictly."""
    settings = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["mypy"]
    return f"{', '.join(settings['files'])}{' (strict)' if settings.get('strict') else ''}"


def format_report(root: Path) -> Iterator[str]:
    """The lines of the report about one checkout."""
    packages = count_checkout(root)
    program = PackageCounts()
    for name, counts in packages.items():
        if name not in NOT_THE_PROGRAM:
            program.add(counts)
    yield f"{root}"
    yield ""
    header = ("package", "files", "folders", "code lines", "functions", "p50", "p90", "one word", "compr.", "two `for`")
    yield format_row(header)
    for name in sorted(packages):
        yield format_row(package_row(name, packages[name]))
    yield format_row(package_row("program", program))
    tests = packages.get("tests", PackageCounts())
    yield ""
    yield f"code lines without tests and benchmarks  {program.code_lines}"
    yield f"tests: files, functions, assertions      {tests.files}, {tests.tests}, {tests.assertions}"
    yield f"mypy                                     {type_checked_paths(root)}"
    common = Counter(name for name in program.names if "_" not in name).most_common(12)
    yield f"most frequent one-word names             {', '.join(f'{name} {count}' for name, count in common)}"


def package_row(name: str, counts: PackageCounts) -> tuple[object, ...]:
    """One row of the table: the values under the report's header."""
    p50, p90 = percentile(counts.lengths, 0.5), percentile(counts.lengths, 0.9)
    size = (counts.files, len(counts.folders), counts.code_lines, len(counts.lengths), p50, p90)
    return name, *size, f"{counts.one_word_share:.0f} %", counts.comprehensions, counts.nested_comprehensions


def format_row(cells: Iterable[object]) -> str:
    """Cells in columns, the first aligned to the left."""
    first, *others = map(str, cells)
    return f"{first:<11}" + "".join(f"{cell:>11}" for cell in others)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the report about another checkout, if one is given, and about this one."""
    parser = argparse.ArgumentParser("python -m tests.support.measure", description="Count what a newcomer meets.")
    parser.add_argument("checkouts", nargs="*", type=Path, metavar="OTHER", help="another checkout, counted first")
    for root in (*parser.parse_args(arguments).checkouts, ROOT):
        print("\n".join(format_report(root.resolve())), end="\n\n")


if __name__ == "__main__":
    main()
