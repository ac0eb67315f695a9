"""Values that the shell completes: names of studies and sweeps, and keys of trials."""

from collections.abc import Iterable
from pathlib import Path

import typer


def complete_study(incomplete: str) -> list[str]:
    """Names of studies."""
    from sweeps.study.catalog import STUDIES

    return _starting(STUDIES, incomplete)


def complete_sampler(incomplete: str) -> list[str]:
    """Names of samplers."""
    from sweeps.search.samplers import SAMPLERS

    return _starting(SAMPLERS, incomplete)


def complete_sweep(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of the sweeps in the storage."""
    return _starting((path.parent.name for path in _storage(ctx).glob("*/sweep.json")), incomplete)


def complete_key(ctx: typer.Context, incomplete: str) -> list[str]:
    """Keys of the finished trials in the storage."""
    return _starting((path.stem for path in _storage(ctx).glob("*/tables/trials/*.parquet")), incomplete)


def _storage(ctx: typer.Context) -> Path:
    """The folder of --storage; an object store has no cheap listing, so nothing is completed there."""
    return Path(str(ctx.params.get("storage") or "results")).expanduser()


def _starting(names: Iterable[str], incomplete: str) -> list[str]:
    return sorted({name for name in names if name.startswith(incomplete)})
