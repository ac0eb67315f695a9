"""The searcher's journal in an object store: what a trial adds is uploaded, and every damage is named."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from basin.errors import UsageError
from basin.files import Nowhere
from sweeps.search.journal import open_study
from sweeps.storage import journal_parts, object_store
from sweeps.storage.download import download_sweep
from sweeps.storage.journal_parts import JournalUploader, download_journal
from sweeps.storage.object_store import Mirror
from tests.support.tiny_sweep import study

TRIALS = 2000
LIMIT = 100 * 1000
"""Bytes that a trial may upload."""


def machine(uri: str, folder: Path) -> tuple[Mirror, Path]:
    """A machine that works in this folder, and the place of the journal there."""
    (folder / "sweep").mkdir(parents=True, exist_ok=True)
    return Mirror.from_uri(uri).with_folder(folder), folder.resolve() / "sweep/optuna.journal"


Hosts = Callable[[str], tuple[Mirror, Path]]


@pytest.fixture
def host(uri: str, tmp_path: Path) -> Hosts:
    """Function that makes a machine by its name, and the place of the journal there."""

    return lambda name: machine(uri, tmp_path / name)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of 100 bytes."""
    monkeypatch.setattr(journal_parts, "PART", 100)


def append(journal: Path, text: str) -> None:
    with journal.open("a") as file:
        file.write(f"{text}\n")


def in_parts(mirror: Mirror, journal: Path, launches: int = 1, lines: int = 12) -> bytes:
    """Upload a journal line by line, by this many launches; return all that it holds."""
    for launch in range(launches):
        uploader = JournalUploader(mirror, journal)
        for line in range(lines):
            append(journal, f"launch {launch}, line {line}, {'x' * 20}")
            uploader.send()
    return journal.read_bytes()


def parts(mirror: Mirror, journal: Path) -> list[Path]:
    return sorted(mirror.list_files(journal.with_name("optuna.journal.parts")))


def journal_of(count: int, folder: Path) -> list[bytes]:
    """What each of the first trials of a study adds to its journal."""
    journal, added, start = folder / "optuna.journal", [], 0
    opened, chosen = open_study(journal, study(), 0), study()
    for _ in range(count):
        trial = opened.ask()
        changes = chosen.space.draw(trial)
        trial.set_user_attr("changes", changes)
        trial.set_user_attr("key", chosen.resolve_trial({**changes, "seed": 0}).key)
        opened.tell(trial, [0.5] * len(opened.directions))
        content = journal.read_bytes()
        added.append(content[start:])
        start = len(content)
    return added


def test_a_trial_uploads_what_it_adds_at_any_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines of 20 trials, again and again; the launcher is begun again half way."""
    (mirror, journal), (other, copy) = (machine((tmp_path / "there").as_uri(), tmp_path / name) for name in "ab")
    added, uploaded = journal_of(20, tmp_path), list[int]()
    write = object_store._write

    def count(system: Any, target: str, content: Any) -> None:
        uploaded[-1] += len(content)
        write(system, target, content)

    monkeypatch.setattr(object_store, "_write", count)
    uploader = JournalUploader(mirror, journal)
    for number in range(TRIALS):
        if number == TRIALS // 2:
            uploader = JournalUploader(mirror, journal)
        with journal.open("ab") as file:
            file.write(added[number % len(added)])
        uploaded.append(0)
        uploader.send()
    assert all(0 < size < LIMIT for size in uploaded)
    assert journal.stat().st_size > 10 * LIMIT  # else the whole journal would be no more
    assert download_journal(other, copy) is None
    assert copy.read_bytes() == journal.read_bytes()


def test_launches_continue_each_other_from_any_host(host: Hosts, small_parts: None) -> None:
    content = b""
    for number in range(4):
        mirror, journal = host(str(number))
        assert download_journal(mirror, journal) is None
        assert (journal.read_bytes() if journal.exists() else b"") == content
        content = in_parts(mirror, journal)
        assert content.count(b"\n") == 12 * (number + 1)


def test_nothing_new_is_not_uploaded(host: Hosts, small_parts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    mirror, journal = host("a")
    in_parts(mirror, journal)
    monkeypatch.setattr(object_store, "_write", None)
    JournalUploader(mirror, journal).send()


def test_a_journal_of_an_earlier_version_is_one_file(host: Hosts, small_parts: None) -> None:
    (mirror, journal), (other, copy) = host("a"), host("b")
    journal.write_bytes(b"".join(b"old line %d\n" % line for line in range(50)))
    old = journal.read_bytes()
    mirror.send(journal)
    assert download_journal(other, copy) is None
    assert copy.read_bytes() == old
    new = in_parts(other, copy)
    assert mirror.read_file(journal) == old  # was not uploaded again
    assert download_journal(mirror, journal) is None
    assert journal.read_bytes() == new
    assert new.startswith(old)


def test_a_journal_that_is_made_again_replaces_the_other(host: Hosts, small_parts: None) -> None:
    (mirror, journal), (other, copy) = host("a"), host("b")
    in_parts(mirror, journal, launches=2)
    uploader = JournalUploader(mirror, journal)
    uploader.send()
    journal.write_bytes(b"another journal\n")
    uploader.send()
    assert download_journal(other, copy) is None
    assert copy.read_bytes() == b"another journal\n"
    journal.unlink()
    new = in_parts(mirror, journal)
    assert download_journal(other, copy) is None
    assert copy.read_bytes() == new
    assert len({path.parent for path in parts(mirror, journal)}) == 1  # nothing of the others is left


def killed(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends before it writes or removes another file, after this many."""
    left = [count]

    def counted(action: Callable[..., Any]) -> Callable[..., Any]:
        def perhaps(*arguments: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return action(*arguments)

        return perhaps

    for name in ("_write", "_remove"):
        monkeypatch.setattr(object_store, name, counted(getattr(object_store, name)))


@pytest.mark.parametrize("after", range(8))
def test_killed_between_two_files_the_journal_is_whole(
    after: int, host: Hosts, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mirror, journal), (other, copy) = host("a"), host("b")
    with monkeypatch.context() as patch:
        killed(after, patch)
        with pytest.raises(KeyboardInterrupt):
            in_parts(mirror, journal)
    content = journal.read_bytes()
    assert download_journal(other, copy) is None
    found = copy.read_bytes() if copy.exists() else b""
    assert found.count(b"\n") == max(0, content.count(b"\n") - 1)  # all but the line whose upload was cut off
    assert content.startswith(found)
    assert in_parts(other, copy).startswith(found)


@pytest.mark.parametrize("after", range(3))
def test_killed_while_it_replaces_another_one_of_the_two_is_whole(
    after: int, host: Hosts, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (mirror, journal), (other, copy) = host("a"), host("b")
    old, new = in_parts(mirror, journal), b"another journal\n"
    journal.write_bytes(new)
    with monkeypatch.context() as patch:
        killed(after, patch)
        with pytest.raises(KeyboardInterrupt):
            JournalUploader(mirror, journal).send()
    assert download_journal(other, copy) is None
    assert copy.read_bytes() == (old if after < 2 else new)
    in_parts(other, copy)
    assert len({path.parent for path in parts(other, copy)}) == 1


@pytest.mark.parametrize("which", [0, 1, -1])
@pytest.mark.parametrize("damage", ["torn", "flipped", "empty"])
def test_a_damaged_part_is_named(which: int, damage: str, host: Hosts, small_parts: None) -> None:
    (mirror, journal), (other, copy) = host("a"), host("b")
    content = in_parts(mirror, journal)
    path = parts(mirror, journal)[which]
    written = mirror.read_file(path) or b""
    mirror.put(path, {"torn": written[:-4], "flipped": written[:-4] + b"????", "empty": b""}[damage])
    fault = download_journal(other, copy)
    assert fault is not None
    assert f"{path.relative_to(journal.parent)} is damaged" in fault
    assert "rebuilt from the finished trials" in fault
    assert not copy.exists()
    kept = copy.with_name("optuna.journal.damaged").read_bytes()
    assert content.startswith(kept)
    assert len(kept) == int(path.name)


def test_a_missing_part_is_named_by_the_next(host: Hosts, small_parts: None) -> None:
    (mirror, journal), (other, copy) = host("a"), host("b")
    in_parts(mirror, journal)
    _, gone, following, *_ = parts(mirror, journal)
    mirror.remove(gone)
    fault = download_journal(other, copy)
    assert fault is not None
    assert f"the part before {following.relative_to(journal.parent)} is missing" in fault
    new = in_parts(other, copy)  # of a new journal
    assert download_journal(mirror, journal) is None
    assert journal.read_bytes() == new


@pytest.mark.parametrize("gone", [True, False])
def test_a_damaged_or_missing_base_is_named(gone: bool, host: Hosts, small_parts: None) -> None:
    (mirror, journal), (other, copy) = host("a"), host("b")
    in_parts(mirror, journal)
    if gone:
        mirror.remove(journal)
    else:
        mirror.put(journal, b"?" + (mirror.read_file(journal) or b"")[1:])
    fault = download_journal(other, copy)
    assert fault is not None
    assert f"optuna.journal is {'missing' if gone else 'damaged'}" in fault
    assert not copy.exists()


def test_a_sweep_in_a_folder_has_no_parts(tmp_path: Path) -> None:
    append(tmp_path / "optuna.journal", "line")
    JournalUploader(Nowhere(), tmp_path / "optuna.journal").send()
    assert [path.name for path in tmp_path.iterdir()] == ["optuna.journal"]


def test_a_fetched_sweep_has_the_whole_journal(host: Hosts, uri: str, small_parts: None, tmp_path: Path) -> None:
    mirror, journal = host("a")
    content = in_parts(mirror, journal, launches=2)
    journal.with_name("sweep.json").write_text("{}")
    mirror.send(journal.with_name("sweep.json"))
    assert download_sweep(uri, "sweep", tmp_path / "c").journal.read_bytes() == content


def test_a_store_that_does_not_answer_is_a_usage_error(
    host: Hosts, small_parts: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror, journal = host("a")
    in_parts(mirror, journal, lines=1)
    monkeypatch.setattr(object_store, "PAUSES", ())

    def refuse(*arguments: Any) -> None:
        raise OSError("no route to host")

    uploader = JournalUploader(mirror, journal)
    uploader.send()
    append(journal, "more")
    with monkeypatch.context() as patch:
        patch.setattr(object_store, "_write", refuse)
        with pytest.raises(UsageError, match="no route to host"):
            uploader.send()
    uploader.send()  # nothing was counted as sent
    other, copy = host("b")
    assert download_journal(other, copy) is None
    assert copy.read_bytes() == journal.read_bytes()
