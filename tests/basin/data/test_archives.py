"""Archives are read safely and refused in words."""

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from basin.data.archives import (
    DEVICE,
    HIDDEN,
    OUTSIDE,
    RESOURCE_FORK,
    download_file,
    entry_names,
    read_source,
    walk_files,
)
from basin.errors import UsageError


def everything(name: str) -> bool:
    return True


def hostile_tar(path: Path) -> Path:
    """One honest file among members that lead out of the archive."""
    with tarfile.open(path, "w:gz") as archive:

        def add(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> None:
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, link
            member.size = 4 if kind == tarfile.REGTYPE else 0
            archive.addfile(member, io.BytesIO(b"evil" if "good" not in name else b"good"))

        add("./top/good.png")
        for name in ("../evil.png", "/evil.png", "top/../../evil.png", "top/.evil.png", "__MACOSX/top/evil.png"):
            add(name)
        add("top/link.png", tarfile.SYMTYPE, "/etc/passwd")
        add("top/hard.png", tarfile.LNKTYPE, "/etc/passwd")
        add("top/pipe.png", tarfile.FIFOTYPE)
        add("top/device.png", tarfile.CHRTYPE)
    return path


def hostile_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("top/good.png", b"good")
        for name in ("../evil.png", "/evil.png", "top/../../evil.png", "top/.evil.png", "__MACOSX/top/evil.png"):
            archive.writestr(name, b"evil")
        link = zipfile.ZipInfo("top/link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
        archive.mkdir("top/folder.png")
    return path


def test_members_that_lead_outside_are_passed_over(tmp_path: Path) -> None:
    for archive in (hostile_tar(tmp_path / "a.tar.gz"), hostile_zip(tmp_path / "a.zip")):
        found = read_source(archive, lambda name: "link" not in name and "hard" not in name)
        assert found.files == {"top/good.png": b"good"}
        outside = {"../evil.png", "/evil.png", "top/../../evil.png", "top/link.png"}
        assert {name for name, why in found.passed.items() if why == OUTSIDE} >= outside
        assert found.passed["top/.evil.png"] == HIDDEN
        assert found.passed["__MACOSX/top/evil.png"] == RESOURCE_FORK
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.tar.gz", "a.zip"]
    assert not (tmp_path.parent / "evil.png").exists()


def test_every_entry_is_counted(tmp_path: Path) -> None:
    found = read_source(hostile_tar(tmp_path / "a.tar.gz"), lambda name: "link" not in name and "hard" not in name)
    with tarfile.open(tmp_path / "a.tar.gz") as archive:
        names = {name.removeprefix("./") for name in archive.getnames()}
    assert names == {*found.files, *found.passed}
    assert found.passed["top/pipe.png"] == found.passed["top/device.png"] == DEVICE


@pytest.mark.parametrize("name", ["link", "hard"])
def test_a_wanted_link_that_leads_outside_is_refused(name: str, tmp_path: Path) -> None:
    archive = hostile_tar(tmp_path / "a.tar.gz")
    with pytest.raises(UsageError, match=rf"top/{name}.png is a link to a place out of the archive"):
        read_source(archive, lambda path: path in ("top/good.png", f"top/{name}.png"))


def test_only_what_is_wanted_is_read(tmp_path: Path) -> None:
    archive = hostile_zip(tmp_path / "a.zip")
    assert read_source(archive, lambda name: name.endswith(".txt")).files == {}
    assert entry_names(archive) == ["top/good.png"]


def test_the_kind_of_archive_is_its_content_not_its_name(tmp_path: Path) -> None:
    assert entry_names(hostile_zip(tmp_path / "download"))
    assert entry_names(hostile_tar(tmp_path / "download.zip"))


def test_a_folder_is_sorted_and_its_links_followed_once(tmp_path: Path) -> None:
    for name in ("b/2", "b/1", "a/3", "elsewhere/4"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "a" / "dead").symlink_to(tmp_path / "nothing")
    assert [path.name for path in walk_files(tmp_path)] == ["3", "1", "2", "4"]
    (tmp_path / "view").mkdir()
    (tmp_path / "view" / "class").symlink_to(tmp_path / "elsewhere")
    assert entry_names(tmp_path / "view") == ["class/4"]
    assert list(walk_files(tmp_path / "b" / "1")) == [tmp_path / "b" / "1"]


def encrypted(path: Path) -> None:
    raw = bytearray(hostile_zip(path).read_bytes())
    raw[6] |= 1
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(raw)


def flipped(path: Path) -> None:
    raw = bytearray(hostile_zip(path).read_bytes())
    raw[raw.index(b"good", raw.index(b"good.png") + 8)] ^= 255
    path.write_bytes(raw)


def unknown_method(path: Path) -> None:
    raw = bytearray(hostile_zip(path).read_bytes())
    raw[8], raw[raw.index(b"PK\x01\x02") + 10] = 77, 77
    path.write_bytes(raw)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (encrypted, "encrypted"),
        (flipped, "CRC"),
        (unknown_method, "compression"),
        (lambda path: path.write_bytes(b""), "expected a folder, or a whole .zip"),
        (lambda path: path.write_bytes(b"\xfd7zXZ\0" + b"x" * 99), "expected a folder, or a whole .zip"),
        (lambda path: path.write_text("<html>404</html>"), "expected a folder, or a whole .zip"),
    ],
)
def test_an_archive_that_cannot_be_read_is_named(damage: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "images"
    damage(path)  # type: ignore[operator]
    with pytest.raises(UsageError, match=message) as caught:
        read_source(path, everything)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def remote(tmp_path: Path) -> Iterator[str]:
    """Address of a web server that has images.zip, which is `content`."""
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "images.zip").write_bytes(b"content")

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(tmp_path / "web"))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


MD5 = hashlib.md5(b"content").hexdigest()


def test_a_download_is_checked_kept_and_not_repeated(remote: str, tmp_path: Path) -> None:
    kept = download_file(f"{remote}/images.zip", MD5, tmp_path / "download")
    assert kept == tmp_path / "download" / "images.zip"
    assert kept.read_bytes() == b"content"
    (tmp_path / "web" / "images.zip").unlink()
    assert download_file(f"{remote}/images.zip", MD5, tmp_path / "download") == kept
    assert list((tmp_path / "download").iterdir()) == [kept]


def test_a_damaged_download_is_fetched_again(remote: str, tmp_path: Path) -> None:
    (tmp_path / "images.zip").write_bytes(b"cont")
    assert download_file(f"{remote}/images.zip", MD5, tmp_path).read_bytes() == b"content"


@pytest.mark.parametrize("path", ["/other/images.zip", "/images.zip"])
def test_a_download_that_fails_says_what_to_do(remote: str, path: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot download http.*: get images.zip on .*--data PATH"):
        download_file(remote + path, "0" * 32, tmp_path / "download")
    assert list((tmp_path / "download").iterdir()) == []


def test_without_a_network_it_says_so_too(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot download http.*refused.*--data PATH"):
        download_file("http://127.0.0.1:9/images.zip", "0" * 32, tmp_path)
    assert list(tmp_path.iterdir()) == []
