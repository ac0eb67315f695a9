"""The watcher for AWS's notice to spot instances, against a metadata service on this machine."""

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sweeps.cluster import spot_notice
from tests.support.spot_metadata import Metadata, serving_metadata


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Metadata]:
    with serving_metadata() as metadata:
        monkeypatch.setattr(spot_notice, "METADATA", metadata.address)
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # of no use for this address
        yield metadata


def test_the_notice_is_awaited_with_one_token_and_a_new_one_once_it_expires(service: Metadata) -> None:
    pauses: list[float] = []
    events = [lambda: None, service.expire, lambda: None, service.notify]

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        events.pop(0)()

    assert spot_notice.wait_for_notice(pause)["action"] == "terminate"
    assert pauses == [spot_notice.PERIOD] * 4
    assert service.tokens == ["token-0", "expired", "token-2"]
    assert service.asked == 4  # one of five requests was refused


def test_a_service_that_is_away_is_asked_again(service: Metadata, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spot_notice, "METADATA", "http://127.0.0.1:9")

    def pause(seconds: float) -> None:
        monkeypatch.setattr(spot_notice, "METADATA", service.address)
        service.notify()

    assert spot_notice.wait_for_notice(pause)["action"] == "terminate"


@pytest.mark.parametrize(("time", "left"), [("2026-11-29T12:02:00Z", 120), ("2026-11-29T11:59:00Z", 0)])
def test_the_time_that_is_left(time: str, left: int) -> None:
    assert spot_notice.seconds_left({"time": time}, datetime(2026, 11, 29, 12, tzinfo=UTC)) == left


def test_one_watcher_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spot_notice.tempfile, "gettempdir", lambda: str(tmp_path))
    with spot_notice.claim_machine():
        done = subprocess.run(
            [sys.executable, spot_notice.__file__],
            env={"TMPDIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == "another watcher runs\n"
