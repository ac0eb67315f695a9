"""What a person sees in MLflow and optuna-dashboard: the best trial, its name and its scores, without a network."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from sweeps.storage.store import Store
from sweeps.tracking.tracker import connect_client
from sweeps.tracking.uri import default_uri
from tests.support.browser import needs_browser
from tests.support.disturbed import PATIENT, alive, descendants
from tests.support.tiny_sweep import ROOT, environment, free_ports

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore"), needs_browser]
PATIENCE = PATIENT * 1000
"""Milliseconds until an element must be there: the pages are many files, and MLflow's server reads them slowly."""


@pytest.fixture
def storage(finished: Store, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished.folder.parent, tmp_path / "storage"))


@contextmanager
def served(storage: Path, *options: str) -> Iterator[str]:
    """Address that `launch.py ui --start` prints in a terminal of its own; Ctrl-C then ends it without a traceback."""
    place = ["--storage", str(storage), "--port", str(free_ports(1)[0])]
    command = [sys.executable, "launch.py", "ui", "quickstart", "--start", *place, *options]
    with (
        (storage / "errors").open("w+") as errors,
        subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdout=-1, stderr=errors, text=True, start_new_session=True
        ) as server,
    ):
        try:
            lines = iter(server.stdout.readline, "")
            address = next((line.strip() for line in lines if line.startswith("http")), None)
            assert address, (storage / "errors").read_text()
            yield address
        finally:
            started = descendants(server.pid)
            os.killpg(server.pid, signal.SIGINT)
            code = server.wait()
    assert code == 0
    assert started
    assert not [line for pid, line in started.items() if alive(pid)]
    assert "Traceback" not in (storage / "errors").read_text()


@dataclass
class Visit:
    """A page, and what it asked of other machines, which it did not get."""

    page: Any
    refused: list[str]
    failures: list[str]


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[[str], Visit]]:
    """Open an address at 1400 pixels, on a machine without a network."""
    context = browser.new_context(viewport={"width": 1400, "height": 900})
    context.set_default_timeout(PATIENCE)

    def open_page(address: str) -> Visit:
        here, refused = urlsplit(address).netloc, list[str]()

        def answer(route: Any) -> None:
            asked = urlsplit(route.request.url)
            if asked.scheme in ("data", "blob") or asked.netloc == here:
                route.continue_()
            else:
                refused.append(route.request.url)
                route.abort()

        context.route("**/*", answer)
        seen = Visit(context.new_page(), refused, [])
        seen.page.on("pageerror", lambda error: seen.failures.append(str(error)))
        seen.page.goto(address)
        return seen

    yield open_page
    context.close()


def test_the_best_trial_is_found_in_mlflow(storage: Path, visit: Callable[[str], Visit], shell: Any) -> None:
    key = shell("best", "quickstart", "--storage", str(storage)).splitlines()[-1].split()[3]
    client = connect_client(default_uri(storage))
    experiment = client.get_experiment_by_name("quickstart")
    runs = client.search_runs([experiment.experiment_id])
    best = next(run for run in runs if run.data.tags.get("key", "").startswith(key))
    metric = next(name for name in best.data.metrics if name in ("val_nll", "val/nll"))
    with served(storage) as address:
        seen = visit(address)
        link = seen.page.get_by_role("link", name=best.info.run_name, exact=True)
        link.first.wait_for()
        seen.page.locator(".ag-header-cell", has_text=metric).first.wait_for()
        link.first.click()
        seen.page.get_by_role("heading", name=best.info.run_name).wait_for()
        row = seen.page.get_by_role("row").filter(has=seen.page.get_by_text(metric, exact=True)).first
        row.scroll_into_view_if_needed()
        assert f"{best.data.metrics[metric]:.4f}"[:5] in row.inner_text()
        assert key in seen.page.inner_text("body")
        assert seen.failures == []
        assert seen.refused == []


def test_the_best_trial_is_found_in_optuna_dashboard(storage: Path, visit: Callable[[str], Visit], shell: Any) -> None:
    found = json.loads(shell("best", "quickstart", "--format", "json", "--storage", str(storage)))
    best = found["found"][0]["runs"][0]
    with served(storage, "--optuna") as address:
        seen = visit(address)
        seen.page.get_by_text("val_nll", exact=True).first.wait_for()
        seen.page.get_by_text("Best Trial (number=").wait_for()
        seen.page.locator("[title^='Trials (List)'] a").click()
        for number in range(3):
            seen.page.get_by_text(f"Trial {number}", exact=True).click()
            seen.page.get_by_role("heading", name=f"Trial {number} (").wait_for()
            shown = seen.page.inner_text("body")
            if best["key"] in shown:
                break
        assert best["key"] in shown
        assert f"{best['metrics']['val_nll']}" in shown
        assert "status done" in shown
        assert "feasible False" in shown
        assert f"construction {best['construction']}" in shown
        assert seen.failures == []
        assert seen.refused == []
