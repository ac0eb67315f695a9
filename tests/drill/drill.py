"""The cluster drill: `ray up`, `ray job submit`, a cut link, a killed host; the tables end up like one machine's.

Example: python -m tests.drill.drill
"""

import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.drill.hosts import NETWORK, Host, enter_own_spaces, missing, prepare, program, sh, wait

ROOT = Path(__file__).resolve().parents[2]
DASHBOARD = "http://127.0.0.1:8265"
TRACKING = f"http://{NETWORK}.1:5000"
TRIALS, EPOCHS = os.environ.get("DRILL_TRIALS", "12"), os.environ.get("DRILL_EPOCHS", "60")
SETTINGS = {"epochs": EPOCHS, "width": "0.25", "members": "2", "train_size": "300", "progress_every": "5"}
PATIENCE = 600
"""Seconds that a part of the drill may take."""
TRIES = 5
"""To start Ray on a host that has come back."""


def main() -> None:
    """Run the drill; the folder of its hosts is removed at the end."""
    if lacks := lacking():
        sys.exit(f"error: the drill needs {', '.join(lacks)}: see docs/cluster.md")
    if os.environ.get("DRILL_SPACES") != "own":
        work = Path(tempfile.mkdtemp(prefix="drill-", dir="/var/tmp"))
        command = [sys.executable, "-m", "tests.drill.drill"]
        status = subprocess.run(command, env={**os.environ, "DRILL_SPACES": "", "DRILL": str(work)}, check=False)
        if not os.environ.get("DRILL_KEEP"):
            shutil.rmtree(work, ignore_errors=True)
        sys.exit(status.returncode)
    drill(Path(os.environ["DRILL"]))


def lacking() -> list[str]:
    """What this machine lacks for the drill."""
    return missing() + ([] if _postgres() else ["PostgreSQL"])


def drill(work: Path) -> None:
    """All of it, in spaces of its own."""
    began = time.monotonic()

    def say(words: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {words}", flush=True)

    (work / "shared").mkdir()
    hosts = prepare(work)
    for host in hosts:
        install(host)
    say(f"{len(hosts)} hosts answer: " + ", ".join(host.address for host in hosts))
    head, *workers = hosts
    serve(head)
    say("MLflow on PostgreSQL answers on the head")
    file = configure(work, hosts)
    ray(work, "up", "--yes", "--no-config-cache", str(file), RAY_UP_enable_autoscaler_v2="0")
    wait("three nodes", lambda: len(alive(head)) == 3, seconds=PATIENCE, every=3)
    say("`ray up` has brought up three nodes")
    examine(head, work / "shared")
    say("the doctor has found each of them in order")
    with tunnel(head):
        assert refused(), "the job server answers without a token"
        arguments = sweep(work / "shared", "--tracking-uri", TRACKING, "--address", "auto", "--concurrency", "4")
        where = ["--address", DASHBOARD, "--working-dir", str(ROOT), "--submission-id", "drill", "--no-wait"]
        ray(work, "job", "submit", *where, "--", "python", "launch.py", *arguments)
        say("the sweep is submitted")
        rows = work / "shared" / "results" / "quickstart" / "tables" / "trials"
        disturb(head, workers, rows, say)
        confine(hosts)
        say("nothing listens beyond the hosts' own addresses")
        wait("the sweep", lambda: state(work) not in ("RUNNING", "PENDING"), seconds=2 * PATIENCE, every=3)
        ended = state(work)
        log = ray(work, "job", "logs", "--address", DASHBOARD, "drill")
        (work / "job.log").write_text(log)
        assert ended == "SUCCEEDED", f"the job {ended}: {log[-4000:]}"
    say(f"the sweep has ended: {finished(rows)} trials")
    once(rows)
    say("MLflow has every trial once")
    equal(work)
    say("its tables equal those of a sweep on this machine alone")


def install(host: Host) -> None:
    """What the set-up would do: the environment is this one, and commands find it."""
    home = host.work / host.name / "home"
    (home / "single-basin").mkdir()
    (home / "single-basin" / ".venv").symlink_to((ROOT / ".venv").resolve())


def serve(head: Host) -> None:
    """PostgreSQL that listens at a socket only, and a tracking server at the head's own address."""
    data, binaries = head.work / "postgres", _postgres()
    data.mkdir()
    sh(f"chown postgres {data} && chmod 711 {head.work}")
    sql = f"postgresql://postgres@/postgres?host={data}/socket"
    as_postgres = f"setpriv --reuid=postgres --regid=postgres --clear-groups {binaries}"
    postgres = (
        f"cd / && {as_postgres}/initdb -A trust -E UTF8 --locale=C.UTF-8 -D {data}/data"
        f" && mkdir {data}/socket && chown postgres {data}/socket"
        f" && {as_postgres}/pg_ctl -w -l {data}/log -D {data}/data -o '-k {data}/socket -h \"\"' start"
    )
    sh(shlex.join(head.ssh(postgres)))
    server = (
        f"env MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false {ROOT}/.venv/bin/mlflow server --host {head.address} --port 5000"
        f" --workers 1 --backend-store-uri '{sql}'"
        f" --serve-artifacts --artifacts-destination {head.work}/shared/mlartifacts"
    )
    sh(shlex.join(head.ssh(f"nohup {server} > {head.work}/mlflow.log 2>&1 < /dev/null &")))
    wait("MLflow", lambda: _answers(f"{TRACKING}/health"), seconds=PATIENCE)


def configure(work: Path, hosts: list[Host]) -> Path:
    """The on-premise file with the drill's addresses and key; without the set-up, which needs a package index."""
    text = (ROOT / "sweeps/cluster/on-premise.yaml").read_text().replace("10.0.0.", f"{NETWORK}.")
    config = yaml.safe_load(text)
    assert [config["provider"]["head_ip"], *config["provider"]["worker_ips"]] == [host.address for host in hosts]
    config["auth"] = {"ssh_user": "root", "ssh_private_key": str(work / "key")}
    config["setup_commands"].remove("cd ~/single-basin && sh .ci/setup --no-dev")
    config["file_mounts"]["~/single-basin"] = str(ROOT)
    # The head reaches the workers with the same key, which lies at the same place there.
    file = work / "cluster.yaml"
    file.write_text(yaml.safe_dump(config))
    token = work / "operator" / ".ray" / "auth_token"
    token.parent.mkdir(parents=True)
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    return file


def environment(work: Path, **more: str) -> dict[str, str]:
    """The operator's: a home of its own, with the token."""
    mine = {"HOME": str(work / "operator"), "RAY_AUTH_MODE": "token", "RAY_TMPDIR": str(work / "operator")}
    path = f"{ROOT}/.venv/bin:{os.environ['PATH']}:/usr/sbin:/sbin"
    quiet = {"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0", "RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": "ignore"}
    return {**os.environ, **mine, "PATH": path, **quiet, **more}


def ray(work: Path, *words: str, **more: str) -> str:
    """A command of Ray's, given by the operator."""
    done = subprocess.run(
        ["ray", *words], cwd=ROOT, env=environment(work, **more), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"ray {shlex.join(words)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
    return done.stdout


def alive(head: Host) -> set[str]:
    """Addresses of the nodes that Ray holds to be alive."""
    program = "import ray; ray.init(address='auto', log_to_driver=False, logging_level=50);"
    program += "print('alive', *(n['NodeManagerAddress'] for n in ray.nodes() if n['Alive']))"
    try:
        said = head.run(f"python -W ignore -c {shlex.quote(program)}")
    except RuntimeError:
        return set()
    return set(next((line.split()[1:] for line in said.splitlines() if line.startswith("alive")), []))


def examine(head: Host, shared: Path) -> None:
    """The doctor on the head: a line for each of the nodes, and no failed check, else it ends with an error."""
    said = head.run(f"python -W ignore launch.py doctor --address auto --storage {shared} --tracking-uri {TRACKING}")
    in_order = [line for line in said.splitlines() if "storage shared" in line]
    assert len(in_order) == 3, said


@contextmanager
def tunnel(head: Host) -> Iterator[None]:
    """The head's job server, which listens on its loopback, on ours."""
    command = head.ssh("")[:-1]
    command[1:1] = ["-N", "-L", "8265:127.0.0.1:8265"]
    with subprocess.Popen(command) as process:
        try:
            wait("the job server", lambda: refused() or _answers(DASHBOARD), seconds=60)
            yield
        finally:
            process.terminate()


def refused() -> bool:
    """Whether the job server turns away who has no token."""
    try:
        urllib.request.urlopen(f"{DASHBOARD}/api/jobs/", timeout=10)
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)
    except OSError:
        return False
    return False


def sweep(folder: Path, *more: str) -> list[str]:
    """A sweep whose configurations depend on their number alone."""
    settings = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
    where = ["--storage", str(folder / "results"), "--trials", TRIALS, "--sampler", "random"]
    return ["sweep", "quickstart", *where, *settings, *more]


def disturb(head: Host, workers: list[Host], rows: Path, say: Callable[[str], None]) -> None:
    """One link cut until the node is given up, another host switched off, both with a trial; both come back."""
    wait("a trial on a worker", lambda: finished(rows) and any(map(busy, workers)), seconds=PATIENCE)
    cut, killed = sorted(workers, key=busy, reverse=True)
    cut.link("down")
    say(f"the link of {cut.address} is cut, with {finished(rows)} trials finished")
    wait("its loss", lambda: cut.address not in alive(head), seconds=PATIENCE)
    say("Ray has given it up")
    wait("a trial on the other", lambda: busy(killed), seconds=PATIENCE)  # whose slots are the only free ones now
    cut.link("up")
    killed.kill()
    say(f"the link is mended, and {killed.address} switched off, with {finished(rows)} trials finished")
    wait("its loss", lambda: killed.address not in alive(head), seconds=PATIENCE)
    say("Ray has given it up")
    killed.link("up")
    killed.start()
    say("it is on again")
    for host in (cut, killed):
        join(head, host, say)
    say(f"both have joined again, with {finished(rows)} trials finished")


def busy(host: Host) -> bool:
    """Whether a process of a trial is there."""
    return host.works("grep -qaz '^ray::.*rainable' /proc/[0-9]*/cmdline")


def finished(rows: Path) -> int:
    """Trials that are done."""
    return len(list(rows.glob("*.parquet")))


def join(head: Host, host: Host, say: Callable[[str], None]) -> None:
    """Wait until Ray is started again on a host; on a busy machine that may fail, and then its command is repeated."""
    config = yaml.safe_load((head.work / "cluster.yaml").read_text())
    command = " && ".join(config["worker_start_ray_commands"]).replace("$RAY_HEAD_IP", head.address)
    for _ in range(TRIES):
        try:
            return wait(f"{host.address} to join again", lambda: host.address in alive(head), seconds=90, every=3)
        except RuntimeError:
            say(f"{host.address} has not joined again: Ray is started there by hand")
            host.works(command)
    raise RuntimeError(f"{host.address} has not joined again after {TRIES} tries")


def confine(hosts: list[Host]) -> None:
    """Every socket that listens is bound to an address of its host, which has none but the drill's and loopback."""
    for host in hosts:
        own = {"127.0.0.1", host.address}
        assert host.addresses() == own
        found = {re.sub(r"^\[?(?:::ffff:)?|\]$", "", line.rpartition(":")[0]) for line in host.listening()}
        beyond = found - own - {"0.0.0.0", "*", "::", ":", "::1", ":1", ""}
        assert not beyond, f"{host.name} listens at {beyond}"


def state(work: Path) -> str:
    """How the job is getting on."""
    said = ray(work, "job", "status", "--address", DASHBOARD, "drill")
    return next((word for word in ("SUCCEEDED", "FAILED", "STOPPED", "PENDING") if word in said.upper()), "RUNNING")


def once(rows: Path) -> None:
    """One MLflow run for each trial, on PostgreSQL."""
    from mlflow import MlflowClient

    client = MlflowClient(TRACKING)
    experiment = client.get_experiment_by_name("quickstart")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id], max_results=1000)
    runs = [run for run in found if run.data.tags["role"] != "sweep"]
    assert sorted(run.data.tags["key"] for run in runs) == sorted(path.stem for path in rows.glob("*.parquet"))
    assert {run.info.status for run in runs} == {"FINISHED"}


def equal(work: Path) -> None:
    """The same sweep on this machine alone gives the same tables."""
    from tests.support.tiny_sweep import same_tables

    (work / "single").mkdir()
    command = [sys.executable, "launch.py", *sweep(work / "single")]
    done = subprocess.run(command, cwd=ROOT, env=environment(work), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    here, there = (work / name / "results" / "quickstart" for name in ("single", "shared"))
    same_tables(here, there)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


def _postgres() -> str | None:
    """The folder of PostgreSQL's programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return str(found[-1].parent) if found and program("setpriv") else None


if __name__ == "__main__":
    if os.environ.get("DRILL"):
        enter_own_spaces()
    main()
