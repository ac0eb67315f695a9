"""Connect to Ray: on this machine through loopback only, or to a cluster with this code on its nodes."""

import json
import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from typing import Any

import ray
from ray._private import ray_constants
from ray._private.node import Node

from basin.plugins import imported_plugins
from basin.processors import usable_cpus
from basin.provenance import ROOT
from sweeps.execution.address import check_address

UNUSED_PROCESSES = ("start_monitor", "start_log_monitor", "start_api_server")
"""Methods of Ray's node that start the autoscaler, the forwarder of workers' output, and the dashboard.

A sweep on one machine uses none of them, and they are half of Ray's start: `ray.init` waits for the dashboard even
where it is switched off. Ray has no option for this; a Ray whose node has no such methods starts as it always does.
"""
LOOPBACK = {"ENABLE_RAY_CLUSTER": False}
"""Constant of Ray that lets it listen on loopback alone, as it does by itself on macOS and Windows.

Ray resolves `_node_ip_address="127.0.0.1"` to the machine's own address, and reads the environment variable of this
constant only when it is imported.
"""
PAUSES = (2, 10)
"""Seconds before a cluster is asked again; a head node waits 30 seconds for the process that it starts per client."""


def connect_ray(address: str) -> None:
    """Start Ray on this machine (`local`), or connect to a cluster whose workers then import this code.

    Raises UsageError for an address of another form, and exceptions of every type if Ray does not answer.
    """
    more: dict[str, Any] = {}
    if address == "local":
        more = {"include_dashboard": False, "num_cpus": usable_cpus()}
    elif not _in_job_with_code():
        # Workers on other machines import this code: upload it, without files that git ignores.
        more = {"runtime_env": {"working_dir": str(ROOT)}}
    if files := [str(plugin.path) for plugin in imported_plugins() if not plugin.installed]:
        more["runtime_env"] = {**more.get("runtime_env", {}), "py_modules": sorted(set(files))}
    check_address(address)
    # Ray's workers import from the working directory of the launcher, which may have other code of these names.
    # Ray's client warns of what it then raises.
    local = address == "local"
    with (
        chdir(ROOT),
        warnings.catch_warnings(action="ignore"),
        _replaced(ray_constants, LOOPBACK if local else {}),
        _replaced(Node, {name: _start_nothing for name in UNUSED_PROCESSES if local and hasattr(Node, name)}),
    ):
        _start(address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=True, **more)


def _start(address: str, **settings: Any) -> None:
    """Call `ray.init` again where the head of a cluster did not start the process of this client in time."""
    for pause in PAUSES:
        try:
            ray.init(address=address, **settings)
            return
        except ConnectionAbortedError:
            time.sleep(pause)
    ray.init(address=address, **settings)


def cause_in_words(error: Exception) -> str:
    """Say in one line why Ray does not answer; of a server's traceback, its last line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1] if "Traceback (most recent call last):" in lines else lines[0]


def _in_job_with_code() -> bool:
    """Tell whether this is a job of `ray job submit --working-dir`, whose workers have the code already."""
    job = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}"))
    return "working_dir" in (job.get("runtime_env") or {})


@contextmanager
def _replaced(owner: Any, values: Mapping[str, Any]) -> Iterator[None]:
    """Set attributes of a module or class of Ray for as long as it starts."""
    before = {name: getattr(owner, name) for name in values}
    try:
        for name, value in values.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


def _start_nothing(node: Node, *_: Any, **__: Any) -> None:
    """Start no process."""
