"""The command that lists, describes and prints studies."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from basin.errors import UsageError
from cli.completion import complete_study
from cli.plugins import Plugins, load_plugins
from cli.run import console
from cli.study_files import open_study
from sweeps.study.document import is_study_file, read_document

if TYPE_CHECKING:
    from sweeps.study.study import Study


def studies(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[STUDY]", help="Study, or study file, to describe.", autocompletion=complete_study),
    ] = None,
    toml: Annotated[bool, typer.Option("--toml", help="Print it as a study file, to start from.")] = False,
    data: Annotated[Path | None, typer.Option(metavar="PATH", help="Dataset file or folder of the study.")] = None,
    plugins: Plugins = None,
) -> None:
    """List the studies, or describe one; `plan` estimates its cost.

    Example: python launch.py studies quickstart --toml > my_study.toml
    """
    if name is not None:
        load_plugins(plugins or ())
        _show_study(name, data, as_toml=toml)
    elif toml:
        raise UsageError("--toml: expected the name of a study to print, such as `launch.py studies quickstart --toml`")
    else:
        _list_studies()


def _list_studies() -> None:
    from sweeps.study.catalog import STUDIES

    table = Table("study", "description")
    for study, function in sorted(STUDIES.items()):
        table.add_row(study, (function.__doc__ or "").partition("\n")[0])
    console().print(table)


def _show_study(name: str, data: Path | None, *, as_toml: bool) -> None:
    document = read_document(Path(name)) if is_study_file(name) else None
    source = data or (document.path("data") if document else None)
    study = open_study(name, document, source, None)
    words = str(document.content.get("summary", "")) if document else _describe_function(name)
    if not as_toml:
        _print_description(study, words)
        return
    from sweeps.study.study_text import study_text

    print(study_text(study, words.partition("\n")[0], source, document.texts("import") if document else ()), end="")


def _describe_function(name: str) -> str:
    import inspect

    from sweeps.study.catalog import STUDIES

    return inspect.getdoc(STUDIES[name]) or ""


def _describe_values(values: object) -> str:
    return ", ".join(map(str, values)) if isinstance(values, list | tuple) else str(values)


def _print_description(study: "Study", words: str) -> None:
    from sweeps.study.study_text import grid_blocks, searched_values

    flat, out = study.base.flat(), console()
    out.print(words)
    table = Table("what", "value")
    table.add_row("trials", f"{study.trials} searched" if study.trials else f"{len(study.grid)} × {study.seeds} seeds")
    table.add_row("dataset", str(flat["dataset"]))
    table.add_row("model", str(flat["model"]))
    precision = "auto: decided at the launch" if study.auto_precision else str(flat["precision"])
    table.add_row("precision", precision)
    table.add_row("constructions", ", ".join(study.space.constructions))
    for name, values in searched_values(study.space).items():
        table.add_row(f"search {name}", _describe_values(values))
    for number, block in enumerate(grid_blocks(study.grid)):
        varied = [f"{name} {_describe_values(values)}" for name, values in block.items()]
        table.add_row("" if number else "grid", "\n× ".join(varied))
    table.add_row("objectives", ", ".join(study.objectives))
    out.print(table)
