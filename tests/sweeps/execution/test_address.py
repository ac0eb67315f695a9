"""What answers at an address is named within seconds; only Ray's own greeting is accepted."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basin.errors import UsageError
from sweeps.execution import session
from sweeps.execution.address import check_address


@contextmanager
def listening(answer: bytes | None) -> Iterator[str]:
    """A server that answers so, or never, to whatever is sent."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.recv(100)
                if answer is not None:
                    connection.sendall(answer)
                connection.recv(100)

        thread = Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "a web server at .*, not Ray"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "an SSH server at"),
        (b"-ERR unknown command\r\n", "a Redis server at"),
        (b"\x15\x03\x01\x00\x02\x02F\x00\x00", "something else at .*, not Ray"),
        (None, "something that stays silent for 0.3 s"),
    ],
)
def test_something_else_is_named(answer: bytes | None, words: str) -> None:
    with listening(answer) as address, pytest.raises(OSError, match=words):
        check_address(address, patience=0.3)


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_what_speaks_grpc_is_accepted(scheme: str) -> None:
    settings = bytes([0, 0, 6, 4, 0, 0, 0, 0, 0]) + bytes([0, 3, 0, 0, 0, 100])  # as gRPC's servers begin
    with listening(settings) as address:
        check_address(scheme + address)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(OSError, match="refused"):
        check_address(f"127.0.0.1:{port}")


@given(st.text("ray:/.@?#1host[]", max_size=12).filter(lambda text: text not in ("local", "auto")))
def test_no_address_ends_in_a_traceback(address: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "create_connection", _refuse)
        with pytest.raises((UsageError, OSError)):
            check_address(address)


def _refuse(*arguments: object, **more: object) -> None:
    raise ConnectionRefusedError


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("AF_UNIX path length cannot exceed 107 bytes: /tmp/job/…/sockets/raylet", "TMPDIR is too long .* RAY_TMPDIR"),
        ("The current node timed out during startup.", "timed out during startup.; rerun the command"),
    ],
)
def test_why_ray_did_not_start_here(words: str, advice: str) -> None:
    assert re.search(advice, session._explain_no_start(words))
