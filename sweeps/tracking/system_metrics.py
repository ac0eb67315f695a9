"""MLflow's own record of a machine's load, logged to the run of a sweep while its trials run."""

import importlib.util
from typing import TYPE_CHECKING

from basin.errors import UsageError

if TYPE_CHECKING:
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    from sweeps.tracking.tracker import Tracker

INTERVAL = 10.0
"""Seconds between two samples, each of which is a request for the run and one that logs a dozen numbers."""


def check_available() -> None:
    """Raise UsageError if the package that reads the load is not installed."""
    if importlib.util.find_spec("psutil") is None:
        raise UsageError("--system-metrics: needs the package psutil: install it, or omit the option")


def start_monitor(tracker: "Tracker") -> "SystemMetricsMonitor":
    """Start to log the load of this machine; it goes on after the samples of earlier launches."""
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    uri = tracker.client.tracking_uri
    monitor = SystemMetricsMonitor(tracker.parent, INTERVAL, resume_logging=True, tracking_uri=uri)
    monitor.start()
    return monitor
