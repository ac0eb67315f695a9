"""The notebooks of examples/ are stored without outputs, and run."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted(path.name for path in (Path(__file__).parents[1] / "examples").glob("*.ipynb"))


def execute(root: Path, folder: Path, name: str, shown: str, changes: Mapping[str, str] | None = None) -> str:
    """Run a notebook, with texts changed, in a folder of its own; return what an expression prints at its end."""
    text = (root / "examples" / name).read_text(encoding="utf-8")
    for old, new in (changes or {}).items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    book = nbformat.reads(text, as_version=4)
    book.cells.append(nbformat.v4.new_code_cell(f"print({shown})"))
    client = NotebookClient(book, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}})
    client.execute(env=os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(folder)})
    return str(book.cells[-1].outputs[0].text)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_are_stored_without_outputs(root, name):
    book = nbformat.read(root / "examples" / name, as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert not [cell for cell in code if cell.outputs or cell.execution_count]
    assert book.cells[0].cell_type == "markdown"


@pytest.mark.slow
def test_the_page_about_the_library_runs(root, tmp_path):
    text = (root / "docs/library.md").read_text(encoding="utf-8")
    program = tmp_path / "page.py"
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 5
    checks = (
        "assert result.barriers['reset'].accuracy[0, 1] > 2\nassert set(tables) >= {'paths', 'barriers', 'scores'}\n"
    )
    checks += "assert aligned.certificates[0].barrier_after < aligned.certificates[0].barrier_before\n"
    program.write_text("\n".join([*blocks, checks]), encoding="utf-8")
    env = os.environ | {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    done = subprocess.run(
        [sys.executable, str(program)], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_own_networks_are_in_several_basins_and_branches_in_one(root, tmp_path):
    barriers = (f"{name}.barriers['reset'].accuracy.max()" for name in ("result", "aligned"))
    shown = f"result.verdict, {', '.join(barriers)}, branches.verdict, branches.soup.accuracy"
    verdict, barrier, smaller, branches, soup = execute(root, tmp_path, "own-networks.ipynb", shown).split()
    assert float(smaller) < float(barrier)
    assert verdict == "no"
    assert float(barrier) > 10
    assert branches == "yes"
    assert float(soup) > 95
    assert (tmp_path / "soup.pt").exists()


@pytest.mark.slow
def test_the_question_on_digits_is_answered(root, tmp_path):
    shown = (
        "*(part for r in results.values() for part in (r.verdict, r.barriers['reset'].accuracy.max(), r.soup.accuracy))"
    )
    parts = execute(root, tmp_path, "the-question-on-digits.ipynb", shown).split()
    deep, dip, useless, constrained, small, soup = parts
    assert deep == "no"
    assert float(dip) > 10
    assert float(useless) < float(soup) - 10
    assert constrained != "no"
    assert float(small) < 3


@pytest.mark.slow
def test_a_sweep_is_deployed(root, kept, image_cache, tmp_path):
    """On a small sweep, in place of the quickstart."""
    changes = {
        'Path(\\"..\\").resolve()': f'Path(\\"{root}\\")',
        'project / \\"results/quickstart\\"': f'Path(\\"{kept.folder}\\")',
        'basin.load(sweep, best[\\"key\\"])': f'basin.load(sweep, best[\\"key\\"], cache=\\"{image_cache}\\")',
    }
    scores = (
        "result.ensemble.accuracy, result.soup.accuracy, deployed, best['test_accuracy'], best['test_soup_accuracy']"
    )
    printed = execute(root, tmp_path, "from-sweep-to-deployment.ipynb", scores, changes)
    ensemble, soup, deployed, stored, stored_soup = map(float, printed.split())
    assert ensemble == pytest.approx(stored)
    assert soup == deployed == pytest.approx(stored_soup)
