"""Find stages that no trial of this version of the code can use: their recipe has another format, or other versions."""

import json
import re
from contextlib import suppress
from pathlib import Path

from basin import keys
from basin.data import DataSplit
from basin.errors import UsageError
from basin.training.loop import Training
from basin.trial import RECIPE, REGISTRIES

_KEY = re.compile(r"[0-9a-f]{16}")


def list_stages(runs: Path) -> list[Path]:
    """List the folders of stages; folders with other names, or without networks, belong to the user."""
    return [path for path in sorted(runs.glob("*/")) if _KEY.fullmatch(path.name) and any(path.glob("member-*/"))]


def find_old_stages(runs: Path) -> list[Path]:
    """List the stages of old recipes; other folders, and recipes of things that are not installed, do not count."""
    return [folder for folder in list_stages(runs) if _is_old(folder / "recipe.json")]


def _is_old(file: Path) -> bool:
    """Tell whether a recipe is of other code. Stages of the first format have none; a damaged one is written again."""
    try:
        recipe = json.loads(file.read_text())
    except FileNotFoundError:
        return True
    except (OSError, ValueError):
        return False
    if not isinstance(recipe, dict):
        return False
    return recipe.get("format") != keys.FORMAT or any(
        recipe.get(f"{section}.version", 1) != version for section, version in _current_versions(recipe).items()
    )


def _current_versions(recipe: keys.Contents) -> dict[str, int]:
    """Section → version of its class in this code, for the sections of a recipe whose class is known."""
    versions = {"split": keys.class_version(DataSplit), "training": keys.class_version(Training)}
    for kind in RECIPE:
        with suppress(KeyError, UsageError):
            versions[kind] = keys.class_version(REGISTRIES[kind].entry(str(recipe[kind]))[0])
    return versions
