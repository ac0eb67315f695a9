"""Three hosts on one machine: network, mount, process and name spaces of their own, with sshd in each.

They live in spaces of the process that makes them: nothing of this machine's own network changes, and all of it is gone
when that process is.
"""

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

NETWORK = "10.77.0"
NEEDED = ("ip", "ss", "sshd", "ssh", "ssh-keygen", "rsync", "unshare")
SETTINGS = {
    "RAY_worker_niceness": 0,  # else trials would hardly run beside anything else
    # A lost host is noticed in seconds; the project's own values, in environment.sh, bear a stall of the shared folder.
    "AUTOSCALER_HEARTBEAT_TIMEOUT_S": 10,
    "RAY_health_check_initial_delay_ms": 2000,
    "RAY_health_check_period_ms": 1000,
    "RAY_health_check_timeout_ms": 2000,
    "RAY_health_check_failure_threshold": 3,
}
"""Environment of every host."""
APART = ("/run", "/dev/shm")
"""Folders that each host has for itself, in memory."""


def missing() -> list[str]:
    """What this machine lacks for hosts."""
    names = [name for name in NEEDED if not program(name)]
    if os.geteuid() != 0:
        return [*names, "root"]
    spaces = ["unshare", "--net", "--mount", "--pid", "--fork", "true"]
    if not names and subprocess.run(spaces, capture_output=True, check=False).returncode:
        return ["leave to make network namespaces"]
    return names


def program(name: str) -> str | None:
    """Where a command is; administrators' folders count too."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin:/usr/local/sbin")


def enter_own_spaces() -> None:
    """Start this program again in spaces of its own, whose processes all end with it; return only there."""
    if os.environ.get("DRILL_SPACES") != "own":
        command = ["unshare", "--net", "--mount", "--pid", "--ipc", "--fork", "--kill-child=KILL", "--mount-proc"]
        command += [sys.executable, "-m", "tests.drill.drill"]
        os.execvpe("unshare", command, {**os.environ, "DRILL_SPACES": "own"})
    sh("mount -t tmpfs tmpfs /run && mkdir -p /run/sshd /run/netns && ip link set lo up")
    sh(f"ip link add drill type bridge && ip addr add {NETWORK}.254/24 dev drill && ip link set drill up")


def sh(script: str) -> str:
    """A shell script's output; raises if it fails."""
    done = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{script}\n{done.stdout}{done.stderr}")
    return done.stdout


@dataclass
class Host:
    """One host."""

    number: int
    work: Path
    """Folder of the drill; the host's own files lie in a folder of its name there, but its home is `work/home`."""
    process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """Its name."""
        return f"host{self.number}"

    @property
    def address(self) -> str:
        """Its address."""
        return f"{NETWORK}.{self.number}"

    def wire(self) -> None:
        """Give it a network with one link to the bridge."""
        inside = f"ip netns exec {self.name}"
        sh(
            f"ip netns add {self.name}; ip link add {self.name} type veth peer name eth0 netns {self.name};"
            f"ip link set {self.name} master drill up; {inside} ip link set lo up;"
            f"{inside} ip addr add {self.address}/24 dev eth0; {inside} ip link set eth0 up;"
            f"{inside} ip route add default via {NETWORK}.254"
        )

    def link(self, state: str) -> None:
        """Cut the link (`down`), or mend it (`up`)."""
        sh(f"ip link set {self.name} {state}")

    def start(self) -> None:
        """Switch it on: sshd, and nothing else."""
        own = self.work / self.name
        for folder in ("home", "ray"):
            (own / folder).mkdir(parents=True, exist_ok=True)
        (own / "passwd").write_text(f"root:x:0:0:root:{self.work}/home:/bin/bash\n" + _others())
        (own / "hosts").write_text("127.0.0.1 localhost\n" + "".join(f"{NETWORK}.{n} host{n}\n" for n in (1, 2, 3)))
        apart = "; ".join(f"mount -t tmpfs tmpfs {folder}" for folder in APART)
        script = (
            f"{apart}; mkdir -p /run/sshd /tmp/ray; mount --bind {own}/ray /tmp/ray; hostname {self.name};"
            f"mount --bind {own}/home {self.work}/home; mount --bind {own}/passwd /etc/passwd;"
            f"mount --bind {own}/hosts /etc/hosts; exec {program('sshd')} -D -e -f {self.work}/sshd_config"
            f" -o ListenAddress={self.address}"
        )
        spaces = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child=KILL", "--mount-proc"]
        with (own / "sshd.log").open("ab") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.name, *spaces, "bash", "-ec", script], stdout=log, stderr=log
            )
        wait("sshd", lambda: self.works("true"), seconds=60)

    def kill(self) -> None:
        """Switch it off without a word: every process of it is gone, and its link."""
        assert self.process is not None
        self.link("down")
        self.process.kill()
        self.process.wait()

    def ssh(self, script: str) -> list[str]:
        """The command that runs a script there."""
        options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "ConnectTimeout=5")
        words = [word for option in options for word in ("-o", option)]
        return ["ssh", "-i", str(self.work / "key"), *words, f"root@{self.address}", script]

    def run(self, script: str) -> str:
        """A script's output there, in the environment of the cluster; raises if it fails."""
        return sh(shlex.join(self.ssh(f"cd single-basin && . sweeps/cluster/environment.sh && {script}")))

    def works(self, script: str) -> bool:
        """Whether a script ends well there."""
        return subprocess.run(self.ssh(script), capture_output=True, check=False).returncode == 0

    def listening(self) -> list[str]:
        """Addresses and ports that somebody listens at."""
        return [line.split()[3] for line in sh(f"ip netns exec {self.name} ss -Hltn").splitlines()]

    def addresses(self) -> set[str]:
        """All addresses that it has."""
        lines = sh(f"ip netns exec {self.name} ip -4 -o addr").splitlines()
        return {line.split()[3].partition("/")[0] for line in lines}


def prepare(work: Path) -> list[Host]:
    """Keys and configuration, then three hosts that are on."""
    (work / "home").mkdir()
    sh(f"ssh-keygen -q -t ed25519 -N '' -f {work}/key && ssh-keygen -q -t ed25519 -N '' -f {work}/host_key")
    (work / "sshd_config").write_text(
        f"HostKey {work}/host_key\nAuthorizedKeysFile {work}/key.pub\nStrictModes no\nUsePAM no\nPidFile none\n"
        "PermitRootLogin prohibit-password\nPasswordAuthentication no\nMaxStartups 100\n"
        f"SetEnv {' '.join(f'{name}={value}' for name, value in SETTINGS.items())}\n"
    )
    hosts = [Host(number, work) for number in (1, 2, 3)]
    for host in hosts:
        host.wire()
        host.start()
    return hosts


def wait(what: str, done: Callable[[], object], *, seconds: float, every: float = 1) -> None:
    """Ask again and again; raises if it takes too long."""
    began = time.monotonic()
    while not done():
        if time.monotonic() - began > seconds:
            raise RuntimeError(f"{what}: not within {seconds:g} s")
        time.sleep(every)


def _others() -> str:
    """The machine's accounts but root's: sshd and PostgreSQL have one."""
    lines = Path("/etc/passwd").read_text().splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("root:"))
