"""Requests that fail now and then are repeated; what is down, or refused, is said at once; no run is made twice."""

import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from sweeps.storage.store import Store
from sweeps.tracking import patience, tracker
from sweeps.tracking.patience import PAUSES, PatientClient, repeated
from sweeps.tracking.reconcile import reconcile_runs
from tests.support.disturbed import one_run_each


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses that were made, none of which took time; each moves the clock."""
    made: list[float] = []
    monkeypatch.setattr(patience, "sleep", made.append)
    monkeypatch.setattr(patience, "monotonic", lambda: sum(made))
    return made


class Flaky:
    """An MLflow client behind a proxy that loses requests or their responses."""

    def __init__(self, client: Any, share: float) -> None:
        self._client, self._share, self._draws, self.lost = client, share, random.Random(7), 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        return (lambda *args, **named: self._request(found, *args, **named)) if callable(found) else found

    def _request(self, action: Any, *args: Any, **named: Any) -> Any:
        if self._draws.random() < self._share:
            self.lost += 1
            if self._draws.random() < 0.5:
                action(*args, **named)
            raise ConnectionError("503")
        return action(*args, **named)


@pytest.mark.filterwarnings("ignore")
def test_sync_through_a_proxy_that_fails_seven_requests_in_a_hundred(
    finished: Store, tmp_path: Path, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished.folder, tmp_path / finished.name)
    store, uri = Store(tmp_path / finished.name), f"sqlite:///{tmp_path / 'other.db'}"
    flaky = Flaky(tracker.connect_client(uri), 0.07)
    client = PatientClient(flaky, lambda error: isinstance(error, ConnectionError))
    monkeypatch.setattr(tracker, "connect_client", lambda uri: client)
    monkeypatch.setattr(tracker, "is_passing", lambda uri, error: isinstance(error, ConnectionError))
    assert len([one for one in reconcile_runs(store, uri) if one.what == "was missing"]) == len(store.keys())
    one_run_each(store, uri)
    assert flaky.lost > 3
    assert len(pauses) == flaky.lost
    assert reconcile_runs(store, uri) == []


def failing(times: int, error: Exception) -> Any:
    """A request that fails so often, then answers."""
    left = [error] * times

    def request() -> str:
        if left:
            raise left.pop()
        return "answer"

    return request


def test_a_store_that_is_down_is_given_up_and_a_refusal_is_not_repeated(pauses: list[float]) -> None:
    assert repeated(lambda _: True, failing(len(PAUSES), OSError("down"))) == "answer"
    assert pauses == list(PAUSES)
    with pytest.raises(OSError, match="down"):
        repeated(lambda _: True, failing(len(PAUSES) + 1, OSError("down")))
    pauses.clear()
    with pytest.raises(ValueError, match="refused"):
        repeated(lambda error: isinstance(error, OSError), failing(1, ValueError("refused")))
    assert pauses == []


def test_a_request_that_took_long_to_fail_is_not_repeated(pauses: list[float]) -> None:
    """Each takes ten seconds where the server does not answer; a user waits for one of them."""

    def request() -> None:
        pauses.append(patience.LONGEST)
        raise OSError("timed out")

    with pytest.raises(OSError, match="timed out"):
        repeated(lambda _: True, request)
    assert pauses == [patience.LONGEST]


def test_requests_that_are_not_safe_to_repeat_are_made_once(pauses: list[float]) -> None:
    class Client:
        def create_run(self) -> None:
            raise OSError("lost")

    with pytest.raises(OSError, match="lost"):
        PatientClient(Client(), lambda _: True).create_run()
    assert pauses == []
