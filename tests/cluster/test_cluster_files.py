"""The files that describe clusters: Ray's own code takes them, what they name is there, and nothing is open."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start
from ray.scripts.symmetric_run import curate_and_validate_ray_start_args

import launch

Config = dict[str, Any]
LAUNCHED = ("cluster.yaml", "sweeps/cluster/on-premise.yaml")
SCRIPTS = (".ci/run", ".ci/setup", "sweeps/cluster/slurm.sh", "sweeps/cluster/environment.sh")


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
    assert named == {".ci/setup", "sweeps/cluster/environment.sh"}
    assert all((root / name).is_file() for name in named)
    assert all((root / name).is_file() for name in launched["rsync_filter"])


def test_the_environment_is_the_locked_one(launched: Config, root: Path) -> None:
    """No command installs anything but what uv.lock says: Ray's default would fetch a nightly wheel of its own."""
    assert launched["setup_commands"] == ["chmod 600 ~/.ray/auth_token", "cd ~/single-basin && sh .ci/setup"]
    assert launched["worker_setup_commands"] == launched["head_setup_commands"] == launched["setup_commands"]
    assert "sync --frozen" in (root / ".ci/setup").read_text()
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


class Slurm:
    """SLURM's commands and a `ray` that only write down what they are asked, and then run what is to be run."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder, self.programs, self.asked = folder, folder / ".venv/bin", folder / "asked"
        self.programs.mkdir(parents=True)
        (folder / "sweeps").symlink_to(root / "sweeps")
        self.program("scontrol", "echo node-1; echo node-2")
        self.program("srun", 'while [ "${1#--}" != "$1" ]; do shift; done; exec "$@"')
        self.program("hostname", "echo 10.0.0.1 fe80::1")
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

    def run(self, script: Path, *arguments: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """The script as sbatch would start it."""
        job = {"SLURM_SUBMIT_DIR": str(self.folder), "SLURM_JOB_ID": "4211", "SLURM_JOB_NODELIST": "node-[1-2]"}
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(self.folder), "SLURM_JOB_NUM_NODES": "2", **job, **more}
        return subprocess.run(
            ["bash", str(script), *arguments], env=environment, capture_output=True, text=True, check=False
        )


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
    assert before == ["--address", "10.0.0.1:24211", "--min-nodes", "2"]
    assert curate_and_validate_ray_start_args(before) == []


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


def parse(words: list[str]) -> None:
    """Raise what typer raises of a command line that `launch.py` does not take."""
    from typer.main import get_command

    group = get_command(launch.app)
    name, command, rest = group.resolve_command(group.make_context("launch.py", [], resilient_parsing=True), words)  # type: ignore[attr-defined]
    command.make_context(name, rest)
