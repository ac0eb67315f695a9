"""A process that is asked to go stops between two steps; what it kept goes on bit for bit, no step is done twice."""

import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from basin import interrupt, stages
from basin.interrupt import PreemptedError
from basin.trial import run
from tests.basin.test_trial import TRIALS, place, record, same, trial


class Steps:
    """Counts steps of all training loops, and gives notice before one of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done, self.notice_at = 0, 0
        self._check = interrupt.check_request
        monkeypatch.setattr(interrupt, "check_request", self.check)

    def check(self) -> None:
        """Called by the loop before each step."""
        if self.done == self.notice_at:
            interrupt.request_stop()
        self._check()
        self.done += 1


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    yield Steps(monkeypatch)
    interrupt.withdraw_request()


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", TRIALS)
def test_a_trial_that_must_go_goes_on_bit_for_bit(
    name: str, seed: int, steps: Steps, tmp_path: Path, cache: Path
) -> None:
    one = trial(epochs=4, **TRIALS[name])
    steps.notice_at = -1
    expected = run(one, place(tmp_path / "straight", cache))
    whole, steps.done = steps.done, 0
    draw, asked = random.Random(seed), 0
    while asked < 4:
        steps.notice_at = steps.done + draw.randrange(1, 1 + whole // 3)
        try:
            outcome = run(one, place(tmp_path / "runs", cache, tmp_path / "scratch"))
            break
        except PreemptedError:
            asked += 1
            interrupt.withdraw_request()
    else:
        steps.notice_at = -1
        outcome = run(one, place(tmp_path / "runs", cache, tmp_path / "scratch"))
    assert asked > 1
    assert record(outcome) == record(expected)
    assert same(outcome.ensemble.vertices, expected.ensemble.vertices)
    if name != "swe":  # whose decayed copies of a snapshot begin again
        assert steps.done == whole
    assert not list((tmp_path / "runs").rglob("partial.safetensors"))


def test_runs_that_a_trial_trained_before_it_was_cut_off_stay_its_own(
    steps: Steps, tmp_path: Path, cache: Path
) -> None:
    """On the disk they look like others' when it goes on."""
    one, here = trial(**TRIALS["distilled"]), place(tmp_path / "runs", cache, tmp_path / "scratch")
    for notice_at in (7, 22):  # within the first teacher, within the second
        steps.notice_at = notice_at
        with pytest.raises(PreemptedError):
            run(one, here)
        interrupt.withdraw_request()
    steps.notice_at = -1
    assert run(one, here).stage_seconds == 0
    shutil.rmtree(tmp_path / "scratch")
    assert (run(one, here).stage_seconds or 0) > 0


def test_one_flipped_byte_anywhere_in_a_checkpoint_is_noticed(tmp_path: Path, cache: Path) -> None:
    one, here = trial(**TRIALS["constrained"]), place(tmp_path, cache, tmp_path / "scratch")
    expected = run(one, here)
    path = tmp_path / "scratch" / "state.safetensors"
    whole = path.read_bytes()
    for position in random.Random(0).sample(range(len(whole)), 60):
        changed = bytearray(whole)
        changed[position] ^= 1 << position % 8
        path.write_bytes(bytes(changed))
        found = stages.read_tensors(path)
        path.write_bytes(whole)
        assert found is None or repr(found) == repr(stages.read_tensors(path)), (
            position
        )  # a blank of the header's padding
    path.write_bytes(bytes(changed))
    assert record(run(one, here)) == record(expected)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"passes": [5], "rows": [], "seconds": 1.0, "checksum": 1}'])
def test_a_damaged_journal_begins_the_trial_anew(text: str, tmp_path: Path, cache: Path) -> None:
    one, here = trial(**TRIALS["constrained"]), place(tmp_path, cache, tmp_path / "scratch")
    expected = run(one, here)
    (tmp_path / "scratch" / "journal.json").write_text(text)
    assert record(run(one, here)) == record(expected)
