"""Connect to a tracking store, and tell its outages from refusals."""

import os
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

from sqlalchemy.exc import DBAPIError

from basin.errors import UsageError
from basin.files import create_temporary
from sweeps.tracking.patience import PatientClient
from sweeps.tracking.uri import OutageError, is_remote, sqlite_file, unreachable_error

if TYPE_CHECKING:
    from mlflow import MlflowClient

LOCKED = 20.0
"""Seconds to wait for another writer of a SQLite file."""


def connect_client(uri: str) -> "MlflowClient":
    """Connect to a tracking store; raises UsageError if it is invalid, OutageError if it is down."""
    # The client must not repeat requests: if the response to a created run were lost, it would create a second run.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")  # with its password
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    import logging

    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    try:
        if file := sqlite_file(uri):
            if not file.exists():
                _create_database(file)
            _check_lock(file)
        client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    except Exception as error:  # MLflow, requests and SQLAlchemy have their own exception types
        raise tracking_error(uri, error) from error
    patient = PatientClient(client, lambda error: is_passing(uri, error))
    return cast("MlflowClient", patient)


def _check_lock(file: Path) -> None:
    """Raise sqlite3.Error for a file that cannot be written; MLflow would retry for 100 s."""
    with closing(sqlite3.connect(file, timeout=LOCKED)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.rollback()


def _create_database(file: Path) -> None:
    """Create MLflow's tables in a new file atomically: MLflow cannot repair a half-made database.

    Does nothing if another process was faster, or without hard links, where MLflow creates the tables itself.
    """
    from mlflow import MlflowClient

    file.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder:
        created = Path(folder) / file.name
        MlflowClient(tracking_uri=f"sqlite:///{created}").search_experiments(max_results=1)
        temporary = create_temporary(file)
        try:
            shutil.copyfile(created, temporary)
            with suppress(OSError):
                os.link(temporary, file)
        finally:
            temporary.unlink(missing_ok=True)


def tracking_error(uri: str, error: Exception) -> UsageError:
    """Make the error of a failed request: OutageError if retrying later may help."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, UsageError):
        return error
    if isinstance(error, MlflowException):
        passing = error.get_http_status_code() >= 500 or error.get_http_status_code() == 429
    else:
        passing = isinstance(error, OSError | DBAPIError)  # network errors of the client are OSErrors
    return unreachable_error(uri, error, OutageError if passing and is_remote(uri) else UsageError)


def is_passing(uri: str, error: Exception) -> bool:
    """Tell whether a failed request may succeed if it is repeated."""
    return isinstance(tracking_error(uri, error), OutageError)
