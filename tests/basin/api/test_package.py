"""`import basin` is cheap and complete, and the wheel installs that one package."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import basin

CHEAP = """
import sys
import basin, basin.errors
dir(basin)
heavy = {"torch", "numpy", "matplotlib", "pyarrow", "scipy"} & set(sys.modules)
assert not heavy, heavy
basin.compare
heavy = {"matplotlib", "pyarrow", "sklearn"} & set(sys.modules)
assert not heavy, heavy
"""


def run(python: Path | str, *arguments: str, cwd: Path) -> str:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command, env = [str(python), *arguments], env | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_public_name_is_there_with_a_docstring():
    for name in basin.__all__:
        assert getattr(basin, name).__doc__, name
    assert sorted(basin.__all__) == basin.__all__
    assert set(basin.__all__) <= set(dir(basin))
    with pytest.raises(AttributeError, match="no attribute 'comparee'"):
        basin.comparee  # noqa: B018


def test_importing_basin_imports_no_torch(root):
    run(sys.executable, "-c", CHEAP, cwd=root)


def test_stats_is_imported_in_a_form_that_the_wheel_can_rename(root):
    """hatch_build.py renames `from stats... import ...` and nothing else."""
    for file in [*(root / "basin").rglob("*.py"), *(root / "stats").rglob("*.py")]:
        for line in file.read_text(encoding="utf-8").splitlines():
            if re.match(r"\s*(from|import) .*\bstats\b", line):
                assert re.match(r"\s*from stats(\.\w+)* import ", line), (file, line)


@pytest.mark.slow
def test_the_wheel_holds_one_package_and_runs_the_example(root, tmp_path):
    """Installed without dependencies into a clean environment that sees the packages of this one, not the checkout."""
    beside = (root / ".venv").resolve().parent / ".uv/bin/uv"
    uv = shutil.which("uv") or (str(beside) if beside.exists() else None)
    if uv is None:
        pytest.skip("no uv: `make env` fetches it")
    run(uv, "build", "--wheel", "--out-dir", str(tmp_path / "dist"), str(root), cwd=tmp_path)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert names == {"basin", f"{wheel.name.partition('-py3')[0]}.dist-info"}
    run(uv, "venv", "--quiet", "--python", sys.executable, str(tmp_path / "venv"), cwd=tmp_path)
    python = tmp_path / "venv/bin/python"
    run(uv, "pip", "install", "--quiet", "--no-deps", "--python", str(python), str(wheel), cwd=tmp_path)
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    (packages / "shared.pth").write_text(str(Path(pytest.__file__).parents[1]) + "\n", encoding="utf-8")
    program = tmp_path / "example.py"
    program.write_text(example_code(root / "examples/own-networks.ipynb") + CHECK, encoding="utf-8")
    printed = run(python, str(program), cwd=tmp_path).splitlines()
    assert printed[-2].startswith(str(packages / "basin"))
    assert printed[-1] == "no"


CHECK = """
import sys
assert "stats" not in sys.modules
assert "basin._stats.verdicts" in sys.modules
print(basin.__file__)
print(result.verdict)
"""


def example_code(notebook: Path) -> str:
    """The code cells of a notebook as one program."""
    import nbformat

    cells = nbformat.read(notebook, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "code")
