"""A cluster whose head does not start a client's process in time is asked again, and the message says why."""

from typing import Any

import pytest

from basin.errors import UsageError
from sweeps.execution import connection, session

SLOW_HEAD = """Initialization failure from server:
Traceback (most recent call last):
  File "proxier.py", line 780, in Datapath
    raise RuntimeError(
RuntimeError: Proxy failed to Connect to backend! Check `ray_client_server.err`
"""


def calls_of_init(monkeypatch: pytest.MonkeyPatch, failures: int) -> list[str]:
    """Replace `ray.init` by one that fails so many times; returns the addresses it was called with."""
    calls: list[str] = []

    def init(address: str, **_: Any) -> None:
        calls.append(address)
        if len(calls) <= failures:
            raise ConnectionAbortedError(SLOW_HEAD)

    monkeypatch.setattr(connection, "check_address", lambda address: None)
    monkeypatch.setattr(connection.ray, "init", init)
    monkeypatch.setattr(connection, "PAUSES", (0, 0))
    return calls


def test_a_head_that_is_slow_twice_is_asked_a_third_time(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = calls_of_init(monkeypatch, failures=2)
    connection.connect_ray("ray://127.0.0.1:10001")
    assert calls == ["ray://127.0.0.1:10001"] * 3


def test_a_head_that_stays_slow_is_named_with_its_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = calls_of_init(monkeypatch, failures=9)
    with pytest.raises(UsageError, match=r"got RuntimeError: Proxy failed to Connect to backend!") as caught:
        session._connect("ray://127.0.0.1:10001")
    assert len(calls) == 3
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionError("ray client connection timeout\nmore"), "ray client connection timeout"),
        (Exception(), "Exception"),
        (RuntimeError("\n\n"), "RuntimeError"),
        (ConnectionAbortedError(SLOW_HEAD), "RuntimeError: Proxy failed to Connect to backend!"),
    ],
)
def test_one_line_says_the_cause(error: Exception, words: str) -> None:
    assert connection.cause_in_words(error).startswith(words)
