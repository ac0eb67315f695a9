"""Stages kept by content: exact wherever they are taken up, made again where they are torn."""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from basin import stack, stages
from basin.errors import UsageError
from basin.training.loop import State, train
from basin.training.objective import Meter
from tests.support.tiny_trial import MODELS, same, task, trial


def straight(folder: Path, cache: Path, until: int, member: int = 0, **changes: object) -> State:
    """The state after training from scratch without a stop."""
    work = task(folder, cache, **changes)
    start = State(stack.stack_networks([work.network.init(0, "member", member)]))
    *_, state = train(
        work.network,
        work.data,
        start,
        training=work.stages.training,
        seed=0,
        members=[member],
        until=until,
        meter=Meter(),
    )
    return state


def equal(first: State, second: State) -> bool:
    slots = all(same(first.slots[slot], second.slots[slot]) for slot in first.slots)
    return (
        first.step == second.step
        and same(first.thetas, second.thetas)
        and slots
        and first.slots.keys() == second.slots.keys()
    )


def is_complete(kept: stages.Stages, member: int) -> bool:
    return stages.reached_step(kept.folder, member, kept.steps, kept.steps) == kept.steps


@pytest.mark.parametrize("kind", ["mlp", "batch"])
@pytest.mark.parametrize("steps", [1, 7, 13, 24])
def test_a_trunk_at_any_step_is_straight_training(kind: str, steps: int, tmp_path: Path, cache: Path) -> None:
    changes = {"epochs": 5, **MODELS[kind]}
    expected = straight(tmp_path / "none", cache, steps, **changes)
    assert equal(task(tmp_path / "empty", cache, **changes).stages.state(0, steps), expected)
    made = task(tmp_path / "made", cache, **changes).stages
    made.state(0)
    assert equal(made.state(0, steps), expected)


def test_the_end_of_a_run_is_straight_training(tmp_path: Path, cache: Path) -> None:
    for member in (0, 1):
        expected = straight(tmp_path / "none", cache, 15, member)
        assert equal(task(tmp_path, cache).stages.state(member), expected)
        assert equal(task(tmp_path, cache).stages.state(member), expected)


def test_a_trunk_at_zero_is_untrained(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache)
    state = work.stages.state(0, 0)
    assert (state.step, state.slots) == (0, {})
    assert same(stack.network_at(state.thetas, 0), work.network.init(0, "member", 0))
    assert not list(tmp_path.rglob("*.safetensors"))


def test_member_0_is_kept_on_a_grid_others_at_the_end(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, epochs=8)  # 40 steps
    assert not is_complete(work.stages, 0)
    work.stages.state(0)
    work.stages.state(1)
    names = sorted(path.relative_to(tmp_path).parts[1:] for path in tmp_path.rglob("*.safetensors"))
    zero = [("member-0", f"step-{step:07d}.safetensors") for step in range(2, 41, 2)]
    assert names == [*zero, ("member-1", "step-0000040.safetensors")]
    assert is_complete(work.stages, 0)
    assert is_complete(work.stages, 1)
    assert not is_complete(work.stages, 2)


def test_a_run_knows_what_it_took(tmp_path: Path, cache: Path) -> None:
    work = task(tmp_path, cache, epochs=8).stages  # 40 steps
    assert work.seconds({0: 40, 1: 40}) == 0
    began = time.perf_counter()
    work.state(0)
    work.state(1)
    wall = time.perf_counter() - began
    spent = [work.seconds({0: step}) or 0 for step in range(2, 41, 2)]
    assert spent == sorted(set(spent))  # each state more than the one before
    both = work.seconds({0: 40, 1: 40}) or 0
    assert spent[-1] < both < wall
    assert work.seconds({0: 39, 1: 39}) == spent[-2]  # what is there of them
    assert work.seconds({}) == work.seconds({0: 0}) == work.seconds({0: 1}) == 0


def test_a_run_that_goes_on_adds_to_what_it_took(tmp_path: Path, cache: Path) -> None:
    task(tmp_path, cache, epochs=8).stages.state(0, 20)
    *_, path = sorted(tmp_path.rglob("*.safetensors"))
    tensors, notes = stages.read_tensors(path) or ({}, {})
    path.write_bytes(stages.serialize_tensors(tensors, notes | {"seconds": "1000.0"}))
    made = task(tmp_path, cache, epochs=8).stages
    assert 1000 < (made.state(0, 29).seconds or 0) < 1100
    assert 1000 < (made.seconds({0: 28}) or 0) < (made.state(0).seconds or 0) < 1100
    assert (made.seconds({0: 18}) or 1000) < 1000
    path.write_bytes(
        stages.serialize_tensors(tensors, {name: notes[name] for name in ("step", "loss")})
    )  # as older ones are
    assert made.seconds({0: 20, 1: 40}) is None
    for later in path.parent.glob("step-000003*"):
        later.unlink()
    assert made.state(0, 21).seconds is None


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_torn_file_is_made_again(share: float, tmp_path: Path, cache: Path) -> None:
    expected = task(tmp_path, cache).stages.state(1)
    (path,) = tmp_path.rglob("*.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert stages.load_state(path) is None
    assert stages.read_notes(path) == {}
    assert equal(task(tmp_path, cache).stages.state(1), expected)
    assert path.stat().st_size == len(whole)
    assert is_complete(task(tmp_path, cache).stages, 1)


def test_a_torn_trunk_goes_on_from_the_one_before(tmp_path: Path, cache: Path) -> None:
    expected = task(tmp_path, cache).stages.state(0)
    *_, before, last = sorted(tmp_path.rglob("*.safetensors"))
    last.write_bytes(b"torn")
    kept = before.stat().st_mtime_ns
    assert equal(task(tmp_path, cache).stages.state(0), expected)
    assert before.stat().st_mtime_ns == kept


def test_an_absent_file_is_none(tmp_path: Path) -> None:
    assert stages.load_state(tmp_path / "absent") is None
    assert stages.read_notes(tmp_path / "absent") == {}


def test_another_recipe_is_another_folder(tmp_path: Path, cache: Path) -> None:
    changes: list[dict[str, object]] = [{}, {"lr": 0.2}, {"hidden": 9}, {"seed": 1}, {"train_size": 90}, {"epochs": 4}]
    folders = {task(tmp_path, cache, **change).stages.folder for change in changes}
    assert len(folders) == len(changes)
    shared: list[dict[str, object]] = [{"construction": "distilled", "t": 0.3}, {"members": 5}, {"alphas": 5}]
    assert {task(tmp_path, cache, **change).stages.folder for change in shared} <= folders


def test_two_makers_at_once_are_harmless(root: Path, tmp_path: Path, cache: Path) -> None:
    program = f"""
import sys, torch
sys.path.insert(0, "{root}")
torch.set_num_threads(1)
from pathlib import Path
from tests.support.tiny_trial import task
print("ready", flush=True)
sys.stdin.readline()
for member in range(4):
    task(Path("{tmp_path}"), Path("{cache}")).stages.state(member)
"""
    expected = [task(tmp_path / "other", cache).stages.state(member) for member in range(4)]
    makers = [
        subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for maker in makers:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "ready\n"
    for maker in makers:
        assert maker.stdin is not None
        maker.stdin.write("\n")
        maker.stdin.flush()
    assert [maker.communicate()[0] for maker in makers] == ["", ""]
    assert [maker.returncode for maker in makers] == [0, 0]
    found = task(tmp_path, cache).stages
    assert all(is_complete(found, member) for member in range(4))
    assert all(equal(found.state(member), expected[member]) for member in range(4))
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()], "temporary files were left"


# The recipe beside the states.


def test_the_recipe_is_there_before_the_first_state(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = task(tmp_path, cache)
    monkeypatch.setattr(work.network, "init", cut_off)
    with pytest.raises(KeyboardInterrupt):
        work.stages.state(0)
    written = json.loads((work.stages.folder / "recipe.json").read_text())
    assert written == replace(trial(), data_hash=work.data.hash).recipe
    assert (written["seed"], written["data_hash"]) == (0, work.data.hash)
    assert (written["training.momentum"], written["model.hidden"], written["split.train_size"]) == (0.9, 8, 100)
    assert not list(tmp_path.rglob("*.safetensors"))


def cut_off(*_: object) -> None:
    raise KeyboardInterrupt


def test_runs_of_another_recipe_are_refused(tmp_path: Path, cache: Path) -> None:
    made = task(tmp_path, cache, epochs=1).stages
    made.state(0)
    other = task(tmp_path / "other", cache, epochs=1, momentum=0.5).stages
    mixed = replace(other, folder=made.folder)
    words = (
        rf"{made.folder} holds networks of another recipe \(training.momentum=0.9 there, training.momentum=0.5 here\)"
    )
    with pytest.raises(UsageError, match=words):
        mixed.state(0)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    made.state(0)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == before


def test_a_recipe_that_cannot_be_read_is_written_again(tmp_path: Path, cache: Path) -> None:
    made = task(tmp_path, cache, epochs=1).stages
    made.state(0)
    path = made.folder / "recipe.json"
    whole = path.read_bytes()
    for damaged in (whole[:20], b"", b"[1]", b"\xff"):
        path.write_bytes(damaged)
        made.state(0)
        assert path.read_bytes() == whole


def test_the_recipe_lies_where_the_states_lie_too(tmp_path: Path, cache: Path) -> None:
    """Two machines that share nothing but a storage: the second meets the recipe that the first has sent."""
    there = Folder(tmp_path / "one", tmp_path / "there")
    first = replace(task(tmp_path / "one", cache, epochs=1).stages, remote=there)
    first.state(0)
    assert there.sent[0] == first.folder / "recipe.json"
    other = task(tmp_path / "two", cache, epochs=1, lr=0.2).stages
    second = replace(other, folder=tmp_path / "two" / first.folder.name, remote=there.at(tmp_path / "two"))
    with pytest.raises(UsageError, match=r"another recipe \(training.lr=0.1 there, training.lr=0.2 here\)"):
        second.state(0)


class Folder:
    """A storage that is a folder."""

    def __init__(self, here: Path, there: Path) -> None:
        self.here, self.there = here, there
        self.sent: list[Path] = []

    def at(self, here: Path) -> "Folder":
        return Folder(here, self.there)

    def fetch(self, path: Path, *, anew: bool = False) -> None:
        source = self.there / path.relative_to(self.here)
        if source.exists() and (anew or not path.exists()):
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, path)

    def send(self, *paths: Path) -> None:
        for path in paths:
            to = self.there / path.relative_to(self.here)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to)
            self.sent.append(path)

    def remove(self, path: Path) -> None:
        (self.there / path.relative_to(self.here)).unlink(missing_ok=True)
