"""Check that a Ray cluster answers at an address; Ray itself would wait for any other server without end."""

import socket
from urllib.parse import urlsplit

from basin.errors import UsageError

PATIENCE = 10.0
"""Seconds in which a cluster must answer."""
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""First bytes of a gRPC connection, which Ray uses: HTTP/2 with empty settings."""
SETTINGS = 4
"""Type of the first frame that an HTTP/2 server sends."""
GREETINGS = {b"HTTP/": "a web server", b"SSH-": "an SSH server", b"-ERR": "a Redis server", b"<": "a web server"}


def check_address(address: str, patience: float = PATIENCE) -> None:
    """Raise UsageError for an address of another form, OSError if no Ray cluster answers there."""
    if address in ("local", "auto"):
        return
    host, port = _split_address(address)
    with socket.create_connection((host, port), timeout=patience) as connection:
        connection.sendall(PREFACE)
        try:
            answer = _read(connection, 9)
        except TimeoutError:
            raise OSError(f"something that stays silent for {patience:g} s at {host}:{port}") from None
    if len(answer) < 9 or answer[3] != SETTINGS:
        kind = next((name for start, name in GREETINGS.items() if answer.startswith(start)), "something else")
        raise OSError(f"{kind} at {host}:{port}, not Ray (first bytes {answer!r})")


def _read(connection: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size and (more := connection.recv(size - len(content))):
        content += more
    return content


def _split_address(address: str) -> tuple[str, int]:
    """Host and port; the port of Ray's client if none is given."""
    expected = "expected local, auto, HOST:PORT of the head, or ray://HOST:PORT of Ray's client server"
    scheme, separator, rest = address.rpartition("://")
    if separator and scheme != "ray":
        raise UsageError(f"--address {address}: {expected}; {scheme}:// is for `ray job submit --address`")
    try:
        parts = urlsplit(f"//{rest}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or parts.path or parts.query or (port is None and not separator):
        raise UsageError(f"--address {address}: {expected}")
    return host, port or 10001
