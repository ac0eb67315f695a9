"""A metadata service like that of a spot instance of AWS, which answers with a token only."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Metadata:
    """The service, and what it was asked."""

    address: str = ""
    action: bytes | None = None
    """Content of spot/instance-action; None before the notice."""
    tokens: list[str] = field(default_factory=list)
    """Tokens given out, of which only the last is valid."""
    asked: int = 0
    """Requests for the action, with a valid token."""

    def notify(self, seconds: int = 120) -> None:
        """Give notice that the instance is terminated in some seconds."""
        end = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        self.action = f'{{"action": "terminate", "time": "{end}"}}'.encode()

    def expire(self) -> None:
        """Let the token that was given out expire."""
        self.tokens.append("expired")


@contextmanager
def serving_metadata() -> Iterator[Metadata]:
    """A service without a notice, on loopback."""
    state = Metadata()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            valid = self.path == "/latest/api/token" and self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
            if valid:
                state.tokens.append(f"token-{len(state.tokens)}")
            self._answer(200 if valid else 400, state.tokens[-1].encode() if valid else b"")

        def do_GET(self) -> None:
            if not state.tokens or self.headers["X-aws-ec2-metadata-token"] != state.tokens[-1]:
                self._answer(401, b"")
                return
            state.asked += 1
            known = self.path == "/latest/meta-data/spot/instance-action" and state.action is not None
            self._answer(200 if known else 404, state.action or b"")

        def _answer(self, code: int, content: bytes) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            """Print nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
