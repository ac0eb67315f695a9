"""Help in plain words: values have the names of their metavars, and no types of Python."""

from collections.abc import Callable
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from basin.errors import one_of

Function = TypeVar("Function", bound=Callable[..., Any])


class PlainCommand(TyperCommand):
    """A command whose help shows `--margin X`, not `--margin <float>`, and no type after a flag."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Parameters without types."""
        return [_without_type(param) for param in super().get_params(ctx)]

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The usage line, required arguments without braces."""
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


class PlainGroup(TyperGroup):
    """The same for a group of commands."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Parameters without types."""
        return [_without_type(param) for param in super().get_params(ctx)]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments; without any, print the help and exit with code 2."""
        if not args and not ctx.resilient_parsing:
            print(ctx.get_help())
            raise typer.Exit(2)
        return list(super().parse_args(ctx, args))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first argument names; raises UsageError if there is none."""
        name = args[0]
        if not (ctx.resilient_parsing or name.startswith("-") or self.get_command(ctx, name)):
            raise one_of("command", name, self.commands)
        return super().resolve_command(ctx, args)


class PlainTyper(typer.Typer):
    """An application whose commands have plain help."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Function], Function]:
        """Register a command."""
        return super().command(name, **{"cls": PlainCommand, **options})


def _without_type(param: Any) -> Any:
    """Show an option's metavar only; an argument's name is its metavar already."""
    shown = param.metavar if param.param_type_name == "option" else None
    param.display_type_rich = lambda ctx: shown
    return param
