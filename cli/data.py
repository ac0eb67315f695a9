"""The command that describes a source of images."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from basin.errors import UsageError
from cli.plugins import Plugins, load_plugins
from cli.run import console


def data(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="Dataset file or folder, as for --data.")],
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME", help="Read it as this dataset. Default: as `sweep` would.")
    ] = None,
    resolution: Annotated[
        int | None, typer.Option(min=8, metavar="N", help="Resize images to N pixels a side.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(metavar="PATH", help="Decoded datasets. Default: ~/.cache.")] = None,
    plugins: Plugins = None,
) -> None:
    """Describe a source of images, as a sweep would read it.

    Prints its layout, classes with their numbers of images, sizes and modes,
    skipped entries, and the hash that names the data in results.
    Example: python launch.py data photographs.zip --resolution 32
    """
    from basin.data import datasets, load_arrays
    from basin.data.description import Description
    from basin.environment import default_cache
    from sweeps.study.bases import dataset_of

    load_plugins(plugins or ())
    name = dataset or dataset_of(path)
    fields = {} if resolution is None else {"resolution": resolution}
    try:
        chosen = datasets.make(name, **fields)
    except TypeError:
        raise UsageError(f"--resolution {resolution}: dataset {name} has a fixed size; omit the option") from None
    arrays, _ = load_arrays(chosen, source=path, cache=cache or default_cache())
    out, found = console(), Description(name, arrays)
    out.print(found.summary(), markup=False)
    facts = Table(show_header=False)
    for heading, value in found.lines():
        facts.add_row(heading, value)
    out.print(facts)
    classes = Table("class", "training images", "test images")
    for label, (train, test) in arrays.counts.items():
        classes.add_row(label, f"{train:,}", f"{test:,}")
    out.print(classes)
