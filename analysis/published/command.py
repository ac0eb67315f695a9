"""`python -m analysis publish | restore | results | power`: publish sweeps, and make the page of answers."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from analysis.answers.power import UNITS, power_table
from analysis.data.queries import read_tables
from analysis.errors import BadInput, Missing
from analysis.published.files import LIMIT, dataset_names, list_published, publish, restore
from analysis.published.page import END, START, readme_block, write_page
from analysis.published.sweeps import opened_sweeps

FOLDER = Path("results/published")
STORAGE = Path("results")
DOCS = Path("docs")
SMALL = {"accuracy": 1.0, "nll": 0.01}
"""Metric → difference that `power` is about by default: in points, in nats."""


def run(arguments: Sequence[str]) -> str:
    """Run one of `COMMANDS` and return what to print. Raises BadInput."""
    options = _build_parser().parse_args(arguments)
    text: str = options.action(options)
    return text


def _publish(options: argparse.Namespace) -> str:
    name = options.name or options.results.resolve().name
    done = publish(options.results, options.to / name, options.study)
    lines = [f"{done.folder}: {done.trials} trials, {'written' if done.changed else 'unchanged'}"]
    lines += [f"  {file}: {size:,} bytes" for file, size in done.sizes.items()]
    whole = sum(file.stat().st_size for folder in list_published(options.to) for file in folder.iterdir())
    lines.append(f"{options.to}: {whole:,} bytes in all")
    if whole > LIMIT:
        lines.append(f"more than {LIMIT:,} bytes, which is much for a repository: set path_images, or publish less")
    return "\n".join(lines)


def _restore(options: argparse.Namespace) -> str:
    names = options.names or [folder.name for folder in list_published(options.published)]
    if not names:
        raise BadInput(f"{options.published}: no published sweep")
    lines = []
    for name in names:
        sweep = options.storage / name
        count = restore(options.published / name, sweep)
        lines.append(f"{sweep}: {count} trials restored" if count else f"{sweep}: every published trial is there")
    return "\n".join(lines)


def _results(options: argparse.Namespace) -> str:
    if options.readme:
        with opened_sweeps(options.published) as sweeps:
            return f"{START}\n{readme_block(sweeps)}\n{END}"
    options.docs.mkdir(parents=True, exist_ok=True)
    return "\n".join(map(str, write_page(options.published, options.docs)))


def _power(options: argparse.Namespace) -> str:
    try:
        tables = read_tables(options.results, datasets=dataset_names(options.published))
        return power_table(tables, options.difference or SMALL[options.metric], options.metric).markdown()
    except Missing as missing:
        raise BadInput(f"{options.results}: {missing}") from missing


COMMANDS = {
    "publish": (_publish, "write a sweep's results into results/published"),
    "restore": (_restore, "write the folders of published sweeps, to read or continue them"),
    "results": (_results, "write docs/results.md from results/published"),
    "power": (_power, "list what numbers of seeds and images can show"),
}
"""Command → its function and help."""


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m analysis", description="Publish sweeps and answer questions.")
    added = parser.add_subparsers(required=True)
    made = {name: added.add_parser(name, help=what, description=what) for name, (_, what) in COMMANDS.items()}
    for name, one in made.items():
        one.set_defaults(action=COMMANDS[name][0])
    made["publish"].add_argument("results", type=Path, help="folder of a sweep, finished or not")
    made["publish"].add_argument("--study", type=Path, help="study file that was run; once it is there, optional")
    made["publish"].add_argument("--name", help="name to publish under (default: that of the folder)")
    made["publish"].add_argument("--to", type=Path, default=FOLDER, help=f"folder of published sweeps ({FOLDER})")
    made["restore"].add_argument("names", nargs="*", metavar="NAME", help="published sweeps (default: all)")
    made["restore"].add_argument("--storage", type=Path, default=STORAGE, help=f"folder to restore into ({STORAGE})")
    made["results"].add_argument("--docs", type=Path, default=DOCS, help=f"folder of the page ({DOCS})")
    made["results"].add_argument("--readme", action="store_true", help="print the block for the README instead")
    for name in ("restore", "results", "power"):
        made[name].add_argument("--published", type=Path, default=FOLDER, help=f"published sweeps ({FOLDER})")
    made["power"].add_argument(
        "results", type=Path, help="folder of a sweep with deep ensembles and others on two seeds or more"
    )
    made["power"].add_argument("--difference", type=_positive, help="true difference (default: 1 point, or 0.01 nats)")
    made["power"].add_argument("--metric", choices=sorted(UNITS), default="accuracy", help="in points, or nats")
    return parser


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text}: expected a number above 0")
    return value
