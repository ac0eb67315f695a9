"""Tags of a sweep's experiment in MLflow: aim, verdicts, glossary of its columns, and how MLflow's page shows it."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from basin.files import read_object
from basin.strict_json import dump_json
from sweeps.study.glossary import Glossary, defined_glossary
from sweeps.tracking.metric_names import metric_name

if TYPE_CHECKING:
    from sweeps.storage.store import Store

AIM = "aim"
GLOSSARY = "glossary"
VERDICT = "verdict."
"""Prefix of the verdict tags; the first key of the trials follows."""
VIEW = "sweep"
"""Name of the view of the runs in MLflow's page that a sweep's address opens."""
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
"""MLflow's tag of a view that was shared: how its page sorts the runs, and its columns."""
SHOWN = ("test_accuracy", "test_nll", "test_q_bar_reset")
"""Scores that are columns of this view beside the objectives: a page shows four or five."""
LONGEST = 5000
"""Characters of a tag that MLflow accepts."""


def experiment_tags(store: "Store") -> dict[str, str]:
    """Make the tags of a sweep's experiment: aim, view, glossary, and verdicts of reported configurations."""
    manifest, verdicts = (read_object(store.folder / name) for name in ("sweep.json", "verdicts.json"))
    tags = {f"{VERDICT}{keys.partition(',')[0]}": _verdict_tag(verdict) for keys, verdict in verdicts.items()}
    if "objectives" in manifest:
        aim = {name: manifest.get(name) for name in ("objectives", "margin", "constraints")}
        tags[AIM] = json.dumps(aim, allow_nan=False)
        tags[VIEW_TAG] = json.dumps(_runs_view(manifest["objectives"]), allow_nan=False)
    glossary = defined_glossary().format()
    return tags | ({GLOSSARY: glossary} if len(glossary) <= LONGEST else {})


def is_verdict(tag: str) -> bool:
    """Tell whether a tag of an experiment is the verdict of a configuration, and not one that a user added."""
    key = tag.removeprefix(VERDICT)
    return tag.startswith(VERDICT) and len(key) == 16 and set(key) <= set("0123456789abcdef")


def read_glossary(tags: Mapping[str, str]) -> Glossary:
    """Return the recorded glossary; that of the code for sweeps that record none."""
    return Glossary.parse(tags[GLOSSARY]) if GLOSSARY in tags else defined_glossary()


def _runs_view(objectives: Sequence[str]) -> dict[str, Any]:
    """Make the view of the runs: the best by the first objective come first; scores, construction and role are shown.

    MLflow shows no score of its own accord.
    """
    metrics = [f"metrics.`{metric_name(name)}`" for name in dict.fromkeys([*objectives, *SHOWN])]
    ascending = defined_glossary().sign(objectives[0].removeprefix("val_")) < 0
    columns = [*metrics, "params.`construction`", "tags.`role`"]
    return {"orderByKey": metrics[0], "orderByAsc": ascending, "selectedColumns": columns}


def _verdict_tag(verdict: Mapping[str, Any]) -> str:
    """Shorten a verdict to MLflow's limit: `keys` names the trials already."""
    kept = {name: value for name, value in verdict.items() if name != "trials"}
    return dump_json(kept, separators=(",", ":"))
