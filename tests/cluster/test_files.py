"""The files that describe clusters: Ray's own code takes them, what they name is there, and nothing is open."""

import ast
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray._private.ray_constants import DEFAULT_OBJECT_STORE_MEMORY_PROPORTION
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start
from ray.scripts.symmetric_run import curate_and_validate_ray_start_args

from cli import app as command_line
from tests.support.disturbed import PATIENT, until

Config = dict[str, Any]
LAUNCHED = ("cluster.yaml", "sweeps/cluster/on-premise.yaml")
SHELL = ("slurm", "environment", "environment_size")
SCRIPTS = (".ci/run", ".ci/setup", *(f"sweeps/cluster/{name}.sh" for name in SHELL))
SETUP = "sh .ci/setup --no-dev"
NFS_GRACE = 90
"""Seconds for which a server of NFS 4 that restarts stalls its clients: Linux's default."""


def config(root: Path, name: str) -> Config:
    """A launcher's file as `ray up` sees it: with Ray's defaults, checked against Ray's schema."""
    prepared: Config = prepare_config(yaml.safe_load((root / name).read_text()))
    validate_config(prepared)
    return prepared


def rayjob(root: Path) -> tuple[Config, Config]:
    """The job, and the policy of its network."""
    job, policy = yaml.safe_load_all((root / "sweeps/cluster/rayjob.yaml").read_text())
    return job, policy


def ray_start(commands: list[str]) -> dict[str, Any]:
    """The options of the one `ray start` among some commands, read by Ray's own parser."""
    (line,) = [command for command in commands if "ray start" in command]
    words = shlex.split(line.partition("ray start")[2].replace("$RAY_HEAD_IP", "10.0.0.1"))
    options: dict[str, Any] = start.make_context("start", words).params
    return options


@pytest.fixture(params=LAUNCHED)
def launched(request: pytest.FixtureRequest, root: Path) -> Config:
    return config(root, request.param)


def test_rays_schema_refuses_what_it_does_not_know(root: Path) -> None:
    prepared = config(root, "cluster.yaml")
    with pytest.raises(Exception, match="min_wokers"):
        validate_config({**prepared, "min_wokers": 1})


def test_every_file_that_is_named_is_there(launched: Config, root: Path) -> None:
    """What lies at home is made by the commands at the head of each file; all else is the project's own."""
    mounts = launched["file_mounts"]
    assert {local for local in mounts.values() if local.startswith("~")} == {"~/.ray/auth_token"}
    assert all((root / local).exists() for local in mounts.values() if not local.startswith("~"))
    commands = " ".join(
        command for name, part in launched.items() if name.endswith("_commands") for command in part
    ).replace("~/single-basin/.venv/bin/ray", "ray")
    named = set(re.findall(r"(?:sweeps|\.ci|~/single-basin)/[\w./-]+", commands))
    assert named - {"sweeps/cluster/spot_notice.py"} == {".ci/setup", "sweeps/cluster/environment.sh"}
    assert all((root / name).is_file() for name in named)
    assert all((root / name).is_file() for name in launched["rsync_filter"])


def test_the_environment_is_the_locked_one(launched: Config, root: Path) -> None:
    """No command installs anything but what uv.lock says: Ray's default would fetch a nightly wheel of its own."""
    assert launched["setup_commands"] == ["chmod 600 ~/.ray/auth_token", f"cd ~/single-basin && {SETUP}"]
    assert launched["worker_setup_commands"] == launched["head_setup_commands"] == launched["setup_commands"]
    assert "sync --frozen" in (root / ".ci/setup").read_text()
    assert f"RUN {SETUP}" in (root / "sweeps/cluster/Dockerfile").read_text()
    assert "pip install" not in str(launched)


def test_head_and_workers_start_with_the_token_and_a_private_dashboard(launched: Config, root: Path) -> None:
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert launched[name][-1].startswith("cd ~/single-basin; . sweeps/cluster/environment.sh;")
    head = ray_start(launched["head_start_ray_commands"])
    assert head["head"]
    assert head["dashboard_host"] == "127.0.0.1"
    assert head["autoscaling_config"]
    worker = ray_start(launched["worker_start_ray_commands"])
    assert worker["address"] == f"10.0.0.1:{head['port']}"
    program = '. sweeps/cluster/environment.sh; env | grep "^RAY_AUTH"'
    done = subprocess.run(["bash", "-c", program], cwd=root, env={"HOME": "/h", "PATH": "/usr/bin:/bin"}, text=True,
                          capture_output=True, check=True)  # fmt: skip
    assert sorted(done.stdout.split()) == ["RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN_PATH=/h/.ray/auth_token"]


def test_no_node_of_the_cloud_is_public(root: Path) -> None:
    prepared = config(root, "cluster.yaml")
    assert prepared["provider"]["use_internal_ips"] is True
    for kind in prepared["available_node_types"].values():
        node = kind["node_config"]
        assert node["SecurityGroupIds"]  # else Ray makes a group that lets everybody in by SSH
        assert node["SubnetIds"]
        assert "NetworkInterfaces" not in node
        assert node["MetadataOptions"] == {"HttpTokens": "required"}


def test_the_clouds_workers_are_spot_gpus_that_come_and_go(root: Path) -> None:
    prepared = config(root, "cluster.yaml")
    kinds = dict(prepared["available_node_types"])
    head, (worker,) = kinds.pop(prepared["head_node_type"]), kinds.values()
    assert head["resources"] == {"CPU": 0}
    assert "InstanceMarketOptions" not in head["node_config"]
    assert worker["resources"]["GPU"] >= 1
    assert worker["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert (worker["min_workers"], worker["max_workers"]) == (0, prepared["max_workers"])


def test_an_on_premise_cluster_starts_on_the_heads_own_address(root: Path) -> None:
    prepared = config(root, "sweeps/cluster/on-premise.yaml")
    head = ray_start(prepared["head_start_ray_commands"])
    assert head["node_ip_address"] == prepared["provider"]["head_ip"]
    assert prepared["max_workers"] == len(prepared["provider"]["worker_ips"])


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_shell(script: str, root: Path) -> None:
    subprocess.run(["bash", "-n", script], cwd=root, check=True)
    if shutil.which("shellcheck"):
        done = subprocess.run(
            ["shellcheck", "--external-sources", script], cwd=root, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout


FIRST_WORD = 'while [ "${1#--}" != "$1" ]; do shift; done'
"""Drops options from a program's arguments."""


class Slurm:
    """SLURM's commands and a `ray` that only write down what they are asked, and then run what is to be run."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder, self.programs, self.asked = folder, folder / ".venv/bin", folder / "asked"
        self.programs.mkdir(parents=True)
        (folder / "sweeps").symlink_to(root / "sweeps")
        self.program("scontrol", f'[ "$1" = requeue ] && echo "$2" >> {folder}/requeued || printf "node-1\\nnode-2\\n"')
        self.program("srun", f'printf "%s\\0" "$@" "" >> {folder}/steps; {FIRST_WORD}; exec "$@"')
        self.program("hostname", "echo 127.0.1.1 10.0.0.2 fe80::1")
        self.program("getent", "echo 127.0.1.1 STREAM node-1; echo 169.254.3.4 STREAM; echo 10.0.0.1 STREAM")
        self.program("ip", "echo '3: ib0 inet 10.9.0.1/16 brd 10.9.255.255 scope global ib0'")
        self.program("python", 'printf "%s\\n" "$@" >> sweep-arguments; exit "${SWEEP_EXIT:-0}"')

    def program(self, name: str, text: str) -> None:
        """A command on the job's path."""
        path = self.programs / name
        path.write_text(f"#!/bin/bash\n{text}\n")
        path.chmod(0o755)

    def ray(self, last: str) -> None:
        """A `ray symmetric-run` that ends with `last`, in which "$@" is the command behind `--`."""
        says = f'printf "%s\\n" "$@" > {self.asked}; while [ "$1" != -- ]; do shift; done; shift;'
        self.program("ray", f'[ "$1" = get-auth-token ] && exit\n{says} {last}')

    def start(self, script: Path, *arguments: str, **more: str) -> "subprocess.Popen[str]":
        """The script as sbatch would start it."""
        job = {"SLURM_SUBMIT_DIR": str(self.folder), "SLURM_JOB_ID": "4211", "SLURM_JOB_NODELIST": "node-[1-2]"}
        job |= {"SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_CPUS_PER_NODE": "64,32(x1)"}
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), **job, **more}
        return subprocess.Popen(
            ["bash", str(script), *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, script: Path, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """The script, until it ends."""
        with self.start(script, *arguments, **more) as process:
            out, err = process.communicate()
        return subprocess.CompletedProcess(arguments, process.returncode, out, err)


@pytest.fixture
def slurm(tmp_path: Path, root: Path) -> Slurm:
    return Slurm(tmp_path, root)


def test_the_slurm_script_hands_its_arguments_to_the_sweep(slurm: Slurm, root: Path) -> None:
    slurm.ray('"$@"')
    done = slurm.run(root / "sweeps/cluster/slurm.sh", "quickstart", "--set", "epochs=2", "--name", "a b")
    assert done.returncode == 0, done.stderr
    words = (slurm.folder / "sweep-arguments").read_text().splitlines()
    expected = ["launch.py", "sweep", "quickstart", "--set", "epochs=2", "--name", "a b", "--address", "auto"]
    assert words == expected
    assert not list(slurm.folder.glob(".finished*"))


def test_ray_takes_what_the_slurm_script_asks_of_it(slurm: Slurm, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slurm.ray('"$@"')
    assert slurm.run(root / "sweeps/cluster/slurm.sh", "quickstart").returncode == 0
    command, *asked = slurm.asked.read_text().splitlines()
    assert command == "symmetric-run"
    monkeypatch.setattr(sys, "argv", ["ray", command, *asked])
    before = asked[: asked.index("--")]
    assert before == ["--address", "10.0.0.1:24211", "--min-nodes", "2", "--num-cpus", "32"]
    assert curate_and_validate_ray_start_args(list(before)) == before[4:]
    assert start.make_context("start", ["--head", *before[4:]]).params["num_cpus"] == 32


@pytest.mark.parametrize(
    ("given", "address", "cpus", "gpus"),
    [
        ({}, "10.0.0.1", "32", None),
        ({"SLURM_CPUS_PER_TASK": "8", "SLURM_GPUS_ON_NODE": "4"}, "10.0.0.1", "8", "4"),
        ({"RAY_INTERFACE": "ib0"}, "10.9.0.1", "32", None),
    ],
)
def test_slurm_s_step_and_ray_agree_about_a_node(
    slurm: Slurm, root: Path, given: dict[str, str], address: str, cpus: str, gpus: str | None
) -> None:
    """The step gets the CPUs that Ray is told of, and the head an address that is not loopback."""
    slurm.ray('"$@"')
    done = slurm.run(root / "sweeps/cluster/slurm.sh", "quickstart", **given)
    assert done.returncode == 0, done.stderr
    step = (slurm.folder / "steps").read_text().split("\0\0")[-2].split("\0")
    assert f"--cpus-per-task={cpus}" in step
    assert f"{address}:24211" in step
    assert step[step.index("--num-cpus") + 1] == cpus
    assert (step[step.index("--num-gpus") + 1] if "--num-gpus" in step else None) == gpus


def test_a_head_without_an_address_is_an_error(slurm: Slurm, root: Path) -> None:
    slurm.ray('"$@"')
    slurm.program("getent", "echo 127.0.1.1 STREAM node-1")
    slurm.program("hostname", "echo 127.0.1.1 fe80::1")
    done = slurm.run(root / "sweeps/cluster/slurm.sh", "quickstart")
    assert done.returncode == 1
    assert "set RAY_INTERFACE" in done.stderr


@pytest.mark.parametrize(("number", "requeued"), [(signal.SIGUSR1, True), (signal.SIGTERM, False)])
def test_only_the_launcher_hears_slurm_s_signals(
    slurm: Slurm, root: Path, number: signal.Signals, requeued: bool
) -> None:
    """Near the time limit the sweep stops and the job requeues itself; a preempted job is requeued by SLURM."""
    slurm.ray('trap "touch ray-was-hit" USR1 TERM; "$@"')
    slurm.program("python", f'trap "touch stopped; exit 138" {number.name}; touch started; while :; do sleep 0.1; done')
    with slurm.start(root / "sweeps/cluster/slurm.sh", "quickstart") as process:
        until(lambda: (slurm.folder / "started").exists(), process)
        process.send_signal(number)
        _, err = process.communicate(timeout=PATIENT)
    assert process.returncode == 1, err
    assert (slurm.folder / "stopped").exists()
    assert not (slurm.folder / "ray-was-hit").exists()
    assert (slurm.folder / "requeued").exists() is requeued
    assert ("requeued" in err) is requeued
    assert not [*slurm.folder.glob(".finished*"), *slurm.folder.glob(".launcher*")]


@pytest.mark.parametrize(("last", "status"), [("exit 0", "0"), ('"$@"', "3"), ('"$@"; exit 0', "3")])
def test_a_slurm_job_fails_where_the_sweep_did_not_end_well(slurm: Slurm, root: Path, last: str, status: str) -> None:
    """Ray that gives up says 0; so may Ray whose command failed."""
    slurm.ray(last)
    done = slurm.run(root / "sweeps/cluster/slurm.sh", "quickstart", SWEEP_EXIT=status)
    assert done.returncode != 0
    assert not list(slurm.folder.glob(".finished*"))


def test_the_rayjob_is_a_sweep_that_launch_takes(root: Path) -> None:
    job, _ = rayjob(root)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    program, script, *words = shlex.split(job["spec"]["entrypoint"])
    assert (program, script) == ("python", "launch.py")
    parse(words)


def test_the_rayjob_is_confined(root: Path) -> None:
    job, policy = rayjob(root)
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["headGroupSpec"]["serviceType"] == "ClusterIP"
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    labels = policy["spec"]["podSelector"]["matchLabels"]
    pods = [group["template"] for group in groups]
    for pod in (*pods, job["spec"]["submitterPodTemplate"]):
        assert labels.items() <= pod["metadata"]["labels"].items()
    for pod in pods:
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        (container,) = pod["spec"]["containers"]
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert {mount["name"] for mount in container["volumeMounts"]} == {v["name"] for v in pod["spec"]["volumes"]}


def test_the_rayjobs_pods_suit_ray_and_gpus(root: Path) -> None:
    """Memory for Ray's object store, which is part of the pod's; quick starts on a large volume; tainted nodes."""
    job, _ = rayjob(root)
    cluster = job["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        spec = group["template"]["spec"]
        assert spec["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
        (container,) = spec["containers"]
        (name,) = [mount["name"] for mount in container["volumeMounts"] if mount["mountPath"] == "/dev/shm"]
        (volume,) = [volume["emptyDir"] for volume in spec["volumes"] if volume["name"] == name]
        assert volume["medium"] == "Memory"
        memory, shared = (int(size.removesuffix("Gi")) for size in (container["resources"]["limits"]["memory"],
                                                                    volume["sizeLimit"]))  # fmt: skip
        assert memory * DEFAULT_OBJECT_STORE_MEMORY_PROPORTION <= shared < memory
        tolerated = [toleration["key"] for toleration in spec.get("tolerations", [])]
        assert tolerated == [resource for resource in container["resources"]["limits"] if "/" in resource]


def test_the_rayjobs_ray_is_the_locked_one(root: Path) -> None:
    job, _ = rayjob(root)
    packages = tomllib.loads((root / "uv.lock").read_text())["package"]
    (locked,) = [package["version"] for package in packages if package["name"] == "ray"]
    assert job["spec"]["rayClusterSpec"]["rayVersion"] == locked


def test_the_image_copies_what_is_there(root: Path) -> None:
    lines = (root / "sweeps/cluster/Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY") for word in line.split()[2:-1]]
    assert set(copied) == {"pyproject.toml", "uv.lock", ".ci/setup", "."}
    assert all((root / name).exists() for name in copied)


def test_skypilots_file_has_the_fields_of_a_task(root: Path) -> None:
    """Names are those of SkyPilot's reference; its own schema is not a dependency of this project."""
    task = yaml.safe_load((root / "sweeps/cluster/skypilot.yaml").read_text())
    assert set(task) == {
        "name", "num_nodes", "workdir", "resources", "envs", "secrets", "file_mounts", "setup", "run",
    }  # fmt: skip
    assert set(task["resources"]) == {"accelerators", "cpus", "memory", "disk_size", "use_spot"}
    assert task["setup"] == SETUP
    assert task["secrets"] == {"RAY_AUTH_TOKEN": None}
    assert set(task["file_mounts"]["/data"]) == {"source", "mode"}


@pytest.mark.parametrize(("rank", "expected"), [("0", "--head"), ("2", "--address=10.0.0.1:6379")])
def test_skypilots_nodes_start_ray_and_the_first_one_the_sweep(
    slurm: Slurm, root: Path, rank: str, expected: str
) -> None:
    """Stand-ins for Ray and Python; the head's Ray is ended with the sweep, and SkyPilot's own is left alone."""
    task = yaml.safe_load((root / "sweeps/cluster/skypilot.yaml").read_text())
    slurm.program("ray", f'printf "%s\\n" "$@" > {slurm.asked}; [ "$2" != --head ] || exec sleep {PATIENT}')
    slurm.program("python", f'until [ -s {slurm.asked} ]; do sleep 0.1; done; printf "%s\\n" "$@" > sweep-arguments')
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        run = task["run"].replace("/dev/tcp/$head/6379", f"/dev/tcp/127.0.0.1/{port}")
        values = {**task["envs"], "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2\n10.0.0.3", "SKYPILOT_NUM_NODES": "3"}
        values |= {"SKYPILOT_NODE_RANK": rank, "SKYPILOT_NUM_GPUS_PER_NODE": "2", "RAY_AUTH_TOKEN": "0" * 64}
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(slurm.folder), **values}
        done = subprocess.run(["bash", "-c", run], cwd=slurm.folder, env=environment, text=True, capture_output=True,
                              check=False, timeout=PATIENT)  # fmt: skip
    assert done.returncode == 0, done.stderr
    asked = slurm.asked.read_text().splitlines()
    assert expected in asked
    start.make_context("start", asked[1:])
    arguments = slurm.folder / "sweep-arguments"
    assert arguments.exists() is (rank == "0")
    if rank == "0":
        script, *words = arguments.read_text().splitlines()
        assert script == "launch.py"
        parse(words)
        assert words[words.index("--address") + 1] == "10.0.0.1:6379"
        assert words[words.index("--concurrency") + 1] == "6"


def test_a_stalled_file_system_costs_no_node(root: Path) -> None:
    """A silent node is lost, and a stalled one restarted by the autoscaler, only after an NFS server has come back."""
    program = '. sweeps/cluster/environment.sh; env | grep -E "^(RAY_health|AUTOSCALER)"'
    command = ["bash", "-c", program]

    def values(**given: str) -> dict[str, int]:
        environment = {"HOME": "/h", "PATH": "/usr/bin:/bin", **given}
        done = subprocess.run(command, cwd=root, env=environment, text=True, capture_output=True, check=True)
        pairs = (line.split("=") for line in done.stdout.split())
        return {name: int(value) for name, value in pairs}

    found = values()
    health = {name: found[f"RAY_health_check_{name}"] for name in ("period_ms", "timeout_ms", "failure_threshold")}
    silent = health["failure_threshold"] * health["timeout_ms"] / 1000
    assert NFS_GRACE < silent < found["AUTOSCALER_HEARTBEAT_TIMEOUT_S"]
    refusing = (health["failure_threshold"] - 1) * health["period_ms"] / 1000
    assert refusing < 10  # a process that died is noticed at once
    assert values(RAY_health_check_timeout_ms="2000")["RAY_health_check_timeout_ms"] == 2000


def test_no_module_of_a_node_needs_development_tools(root: Path) -> None:
    """What nodes lack is imported by tests only."""
    groups = tomllib.loads((root / "pyproject.toml").read_text())["dependency-groups"]
    packages = [*groups["test"], *groups["check"]]
    names = {re.split(r"[\[>=<]", package)[0].replace("-", "_") for package in packages} - {"pyyaml", "scikit_learn"}
    assert {"pytest", "mypy", "moto"} <= names
    files = [
        path for folder in ("basin", "sweeps", "cli", "analysis", "stats") for path in (root / folder).rglob("*.py")
    ]
    imported = {
        name.partition(".")[0]: path
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        for name in imported_names(node)
    }
    assert "torch" in imported
    assert names & set(imported) == set()


def imported_names(node: ast.AST) -> list[str]:
    """Modules that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


def parse(words: list[str]) -> None:
    """Raise what typer raises of a command line that `launch.py` does not take."""
    from typer.main import get_command

    group = get_command(command_line.app)
    name, command, rest = group.resolve_command(group.make_context("launch.py", [], resilient_parsing=True), words)  # type: ignore[attr-defined]
    command.make_context(name, rest)
