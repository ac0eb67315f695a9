"""Options that `python -m basin` and `python -m basin campaign` share."""

import argparse
from pathlib import Path

from basin.environment import Machine, Place, default_cache


def add_shared_options(parser: argparse.ArgumentParser, settings: str) -> None:
    """Add the options for images, settings and own parts; `settings` is the help of --set."""
    parser.add_argument("--set", action="append", default=[], metavar="FIELD=VALUE", help=f"{settings}; repeatable")
    parser.add_argument(
        "--import", dest="plugins", action="append", default=[], metavar="MODULE", help="own parts; repeatable"
    )
    parser.add_argument("--data", type=Path, help="folder or archive of the dataset")
    parser.add_argument("--ood-data", type=Path, help="folder or archive of the dataset of ood=NAME")
    parser.add_argument("--cache", type=Path, default=default_cache(), help="folder of decoded datasets")


def place_of(options: argparse.Namespace, machine: Machine, runs: Path, scratch: Path | None = None) -> Place:
    """The place of the trials of these options."""
    images = {"data": options.data, "ood_data": options.ood_data, "cache": options.cache}
    return Place(machine=machine, runs=runs, scratch=scratch, **images)
