"""A database that cannot be used is refused with its reason, never as a server that does not answer."""

import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from basin.errors import UsageError
from sweeps.tracking import connection
from sweeps.tracking.connection import connect_client
from sweeps.tracking.reader import open_reader

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def database(empty: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copy(empty, tmp_path / "mlflow.db"))


@contextmanager
def changed(file: Path, *statements: str) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)
        yield connection


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(UsageError) as problem:
        action()
    return str(problem.value)


def test_a_locked_database(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "LOCKED", 0.01)
    uri = f"sqlite:///{database}"
    with changed(database, "BEGIN IMMEDIATE"):
        expected = f"--tracking-uri {uri}: another program holds a lock on the database: end that program, or wait"
        assert refusal(lambda: connect_client(uri)) == expected
    connect_client(uri)


def test_a_database_of_another_version_of_mlflow(database: Path) -> None:
    uri = f"sqlite:///{database}"
    expected = f"--tracking-uri {uri}: another version of MLflow made the database: run `mlflow db upgrade` on it"
    with changed(database, "ALTER TABLE experiments RENAME COLUMN lifecycle_stage TO stage"):
        assert refusal(lambda: open_reader(uri, "demo")) == expected
    with changed(database, "UPDATE alembic_version SET version_num = '451aebb31d03'"):
        assert refusal(lambda: connect_client(uri)) == expected


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (b"no database" * 1000, "the file is no SQLite database: name another one, or remove it and run"),
        (b"", "the database has no tables of MLflow: name another one"),
    ],
)
def test_a_file_that_is_no_database(damage: bytes, words: str, database: Path) -> None:
    database.write_bytes(damage)
    line = refusal(lambda: open_reader(f"sqlite:///{database}", "demo"))
    assert line.startswith(f"--tracking-uri sqlite:///{database}: {words}")


def test_a_damaged_database(database: Path) -> None:
    content = database.read_bytes()
    database.write_bytes(content[:100] + bytes(len(content) - 100))
    line = refusal(lambda: open_reader(f"sqlite:///{database}", "demo"))
    assert "the database is damaged: remove it and run `launch.py sync`" in line


class Answers(BaseHTTPRequestHandler):
    """A tracking server with one run."""

    def do_GET(self) -> None:
        self._answer(b'{"run": {"info": {"run_id": "r", "experiment_id": "1", "run_name": "n"}, "data": {}}}')

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._answer(b'{"run_info": {"run_id": "r", "experiment_id": "1"}}')

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *words: object) -> None:
        """Print nothing."""


def test_mlflow_does_not_print_the_address_of_each_run(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow prints a link to each run that ends, with the user name and the password of the server."""
    name = "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        uri = f"http://user:s3cret@127.0.0.1:{server.server_port}"
        monkeypatch.setenv(name, "false")
        connect_client(uri).set_terminated("r")
        assert "s3cret" in capfd.readouterr().out  # without the setting
        monkeypatch.delenv(name)
        connect_client(uri).set_terminated("r")
        assert capfd.readouterr() == ("", "")
        server.shutdown()
