"""Watch for AWS's notice that a spot instance will be reclaimed; then let its trials save and continue elsewhere.

Started on each worker by `cluster.yaml`. Needs nothing but Python and the `ray` command.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

METADATA = os.environ.get("SPOT_METADATA_SERVICE", "http://169.254.169.254")
"""Address of the instance's metadata service."""
TOKEN_SECONDS = 21600
PERIOD = 5.0
"""Seconds between two requests, as AWS advises."""
PATIENCE = 5.0
"""Seconds that the metadata service may take."""
RAY = str(Path(sys.executable).parent / "ray")
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks the service itself, whatever proxy the environment names."""


def read_action(token: str) -> dict[str, str] | None:
    """The pending action of the instance, with `action` and `time` (UTC); None if there is none."""
    request = urllib.request.Request(f"{METADATA}/latest/meta-data/spot/instance-action")
    request.add_header("X-aws-ec2-metadata-token", token)
    try:
        with OPENER.open(request, timeout=PATIENCE) as answer:
            action: dict[str, str] = json.load(answer)
            return action
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return None
        raise


def request_token() -> str:
    """A token of the metadata service (IMDSv2)."""
    request = urllib.request.Request(f"{METADATA}/latest/api/token", method="PUT")
    request.add_header("X-aws-ec2-metadata-token-ttl-seconds", str(TOKEN_SECONDS))
    with OPENER.open(request, timeout=PATIENCE) as answer:
        return str(answer.read().decode())


def wait_for_notice(pause: Callable[[float], None] = time.sleep) -> dict[str, str]:
    """Return the notice once it comes; a service that fails, or an expired token, is asked again with a new token."""
    token = None
    while True:
        try:
            token = token or request_token()
            if action := read_action(token):
                return action
        except (OSError, ValueError) as error:
            print(f"the metadata service failed: {error}", flush=True)
            token = None
        pause(PERIOD)


def seconds_left(action: dict[str, str], now: datetime) -> int:
    """Whole seconds until the instance is reclaimed."""
    end = datetime.fromisoformat(action["time"].replace("Z", "+00:00"))
    return max(0, int((end - now).total_seconds()))


@dataclass(frozen=True)
class Raylet:
    """Ray's process of a node."""

    pid: int
    node_id: str
    gcs_address: str


def find_raylets(node_id: str | None = None) -> list[Raylet]:
    """This user's raylets on this machine, of which a worker has one; only that of a node if one is named."""
    found = []
    for pid, words in list_processes().items():
        options = dict(word.split("=", 1) for word in words if "=" in word)
        if Path(words[0]).name == "raylet" and "--node_id" in options and "--gcs-address" in options:
            found.append(Raylet(pid, options["--node_id"], options["--gcs-address"]))
    return [raylet for raylet in found if node_id in (None, raylet.node_id)]


def list_processes() -> dict[int, list[str]]:
    """Command lines of this user's processes."""
    found = {}
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdecimal() and folder.stat().st_uid == os.getuid():
                found[int(folder.name)] = (folder / "cmdline").read_text(errors="replace").split("\0")
        except OSError:  # it has ended
            continue
    return found


def drain_node(raylet: Raylet, seconds: int) -> bool:
    """Let Ray place nothing more on a node, whose Ray ends once it is idle; whether Ray agreed."""
    node = ["--address", raylet.gcs_address, "--node-id", raylet.node_id]
    reason = ["--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "notice of the spot instance"]
    command = [RAY, "drain-node", *node, *reason, "--deadline-remaining-seconds", str(seconds)]
    return subprocess.run(command, check=False).returncode == 0


def stop_trials(raylet: Raylet) -> int:
    """Ask every trial of a node to save its state and stop; Tune starts it elsewhere. Returns their number."""
    titles = {pid: words[0].lower() for pid, words in list_processes().items()}
    trials = [pid for pid, title in titles.items() if title.startswith("ray::") and "trainable" in title]
    count = 0
    for pid in trials:
        with suppress(OSError):  # it has ended
            parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
            if parent == raylet.pid:
                os.kill(pid, signal.SIGTERM)
                count += 1
    return count


def claim_machine() -> TextIO:
    """Lock a file, to be kept open; ends this process if another watcher has it."""
    lock = Path(tempfile.gettempdir(), f"spot_notice-{os.getuid()}.lock").open("w")  # noqa: SIM115
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit("another watcher runs")
    return lock


def main() -> None:
    """Wait for the notice and act on it; ends at once if another watcher runs on this machine."""
    lock = claim_machine()
    action = wait_for_notice()
    left = seconds_left(action, datetime.now(UTC))
    print(f"{action['action']} in {left} s", flush=True)
    for raylet in find_raylets(os.environ.get("SPOT_NODE_ID")):
        drained = drain_node(raylet, left)  # first, so that stopped trials do not start here again
        print(f"drained: {drained}; trials asked to stop: {stop_trials(raylet)}", flush=True)
    lock.close()


if __name__ == "__main__":
    main()
