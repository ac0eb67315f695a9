"""A sweep on this machine is out of reach of others: every process of it listens on loopback only."""

import ipaddress
import re
import signal
from pathlib import Path

import pytest

from tests.support.disturbed import PATIENT, arguments, descendants, launched, trial_processes, until

pytestmark = pytest.mark.slow
UNUSED = re.compile(r"/(monitor|log_monitor|dashboard)\.py")
"""Processes of Ray that a sweep on one machine does not need."""
LISTENING = "0A"
"""State of a socket in /proc/net/tcp."""


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0100007F", "127.0.0.1"),
        ("00000000", "0.0.0.0"),
        ("0000000000000000FFFF00000100007F", "127.0.0.1"),
        ("00000000000000000000000001000000", "::1"),
        ("00000000000000000000000000000000", "::"),
    ],
)
def test_the_kernel_s_notation_is_read(text: str, address: str) -> None:
    assert read_address(text) == ipaddress.ip_address(address)


def test_a_local_sweep_starts_what_it_needs_and_nobody_else_reaches_it(tmp_path: Path, image_cache: Path) -> None:
    with launched(*arguments(tmp_path, image_cache)) as process:
        until(lambda: trial_processes(process.pid) and agent_listens(process.pid), process)
        mine = [process.pid, *descendants(process.pid)]
        unused = [line for line in descendants(process.pid).values() if UNUSED.search(line)]
        addresses = {address for pid in mine for address in listening(pid)}
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENT)
    assert not unused
    assert addresses
    assert [address for address in addresses if not address.is_loopback] == []


def agent_listens(launcher: int) -> bool:
    """Whether Ray's agent, which serves the metrics, has opened all its ports: gRPC, and HTTP of the metrics."""
    agents = [pid for pid, line in descendants(launcher).items() if "DashboardAgent" in line]
    return any(len(listening(pid)) >= 2 for pid in agents)


def listening(pid: int) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """Addresses at which a process listens, by TCP."""
    inodes = set()
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            inodes.add(str(link.readlink()))
    except OSError:  # it has ended, or closed a file
        pass
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path("/proc/net", name).read_text().splitlines()[1:]]
    return [
        read_address(line[1].partition(":")[0])
        for line in lines
        if line[3] == LISTENING and f"socket:[{line[9]}]" in inodes
    ]


def read_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """An address as the kernel prints it: words of four bytes, each turned round."""
    words = [bytes.fromhex(text[start : start + 8])[::-1] for start in range(0, len(text), 8)]
    found = ipaddress.ip_address(b"".join(words))
    return getattr(found, "ipv4_mapped", None) or found
