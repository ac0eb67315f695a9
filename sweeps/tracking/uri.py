"""Addresses of MLflow tracking stores, and the errors of those that do not answer."""

from collections.abc import Iterable
from pathlib import Path

import sqlalchemy as sa

from basin.errors import UsageError
from sweeps.storage.address import hide_secrets, is_database, show_address

CAUSES = {
    "database is locked": "another program holds a lock on the database: end that program, or wait",
    "out-of-date database schema": "another version of MLflow made the database: run `mlflow db upgrade` on it",
    "no such column": "another version of MLflow made the database: run `mlflow db upgrade` on it",
    "no such table": "the database has no tables of MLflow: name another one",
    "file is not a database": "the file is no SQLite database: name another one, or remove it and run `launch.py sync`",
    "database disk image is malformed": "the database is damaged: remove it and run `launch.py sync`",
    "readonly database": "the database is read-only: change its permissions, or give --tracking-uri",
    "unable to open database file": "the file cannot be opened: check the folder and its permissions",
}
"""Words of SQLite and of MLflow → what they mean."""


class OutageError(UsageError):
    """A tracking store that does not answer now, and may later."""


class NotLoggedError(UsageError):
    """A tracking store without the sweep, or without a trial of it."""


def default_uri(storage: Path) -> str:
    """Return the default tracking store: a SQLite file in the storage folder."""
    return sa.URL.create("sqlite", database=str(storage.resolve() / "mlflow.db")).render_as_string()


def is_remote(uri: str) -> bool:
    """Tell whether a tracking store is a server, which may be down for a while."""
    return uri.startswith(("http://", "https://")) or (is_database(uri) and not uri.startswith("sqlite"))


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite tracking store; None for any other."""
    if not uri.startswith("sqlite:///"):
        return None
    name = sa.make_url(uri).database
    return Path(name) if name else None


def unreachable_error(uri: str, error: Exception, kind: type[UsageError] = UsageError) -> UsageError:
    """Make the error for a tracking store that does not answer, or that cannot be used."""
    words = (str(error).strip() or type(error).__name__).splitlines()[0][:200]
    cause = next((meaning for said, meaning in CAUSES.items() if said in str(error)), None)
    if cause and is_database(uri):
        return kind(f"--tracking-uri {show_address(uri)}: {cause}")
    return kind(
        f"--tracking-uri {show_address(uri)}: expected an MLflow tracking store that answers, got "
        f"{hide_secrets(words, uri)}; start the server, or omit the option to use SQLite in the storage folder"
    )


def require_store(uri: str) -> None:
    """Raise NotLoggedError for a SQLite file that is not there: connecting would create it."""
    if (file := sqlite_file(uri)) and not file.exists():
        raise NotLoggedError(f"no MLflow store at {show_address(uri)}: run `launch.py sweep` first, or give --storage")


def unknown_sweep_error(name: str, uri: str, experiments: Iterable[str]) -> NotLoggedError:
    """Make the error for a sweep that a tracking store does not have."""
    names = ", ".join(sorted(other for other in experiments if other != "Default"))
    return NotLoggedError(f"no sweep {name!r} in {show_address(uri)}: expected one of {names or '(none yet)'}")
