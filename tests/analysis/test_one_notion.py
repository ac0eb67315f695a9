"""Front, chosen configurations and verdicts are the same in `best`, figure, tables, page, summary and MLflow."""

import csv
import io
import json
import re
from dataclasses import dataclass, replace
from html import unescape
from types import SimpleNamespace

import numpy as np
import pytest

from analysis.answers.headline import answer_questions
from analysis.answers.summary import summary_text
from analysis.data.queries import best_by_construction, candidates, read_tables, validation_front
from analysis.figures import connectivity_accuracy, tradeoff
from analysis.report import write_report
from analysis.tables import main
from sweeps.queries.best import Aim, find_best
from sweeps.study.glossary import defined_glossary
from sweeps.study.objectives import BASIN, Limit
from sweeps.tracking.reader import Run
from sweeps.tracking.tags import AIM, GLOSSARY
from tests.support import synthetic_results
from tests.support.logged_sweep import DIVERGED

SETTING = ("digits", "resnet8")
METRICS = ("accuracy", "q_bar_reset", "basin_upper_reset", "nll", "ece")


def as_run(row):
    """The run of a trial, as the reader of MLflow returns it."""
    metrics = {f"{split}_{name}": row.get(f"{split}_{name}") for split in ("val", "test") for name in METRICS}
    identity = json.dumps([row["construction"], row.get("beta"), row.get("t"), row.get("temperature")])
    numbers = {name: value for name, value in metrics.items() if value is not None}
    flag = row.get("feasible") is not False
    return Run(row["key"], row["role"], row["construction"], {}, numbers, feasible=flag, configuration=identity)


def best_front(tables, rows, *limits):
    """Keys of the front of `launch.py best --x q_bar --y accuracy`, from what MLflow would hold."""
    runs = [as_run(row) for row in rows if row.get("status", "done") == "done" and row["construction"] != "deep"]
    aim = {
        "objectives": ["val_accuracy", "val_q_bar_reset"],
        "margin": 2.0,
        "constraints": [str(one) for one in limits],
    }
    tags = {AIM: json.dumps(aim), GLOSSARY: defined_glossary().format()}
    reader = SimpleNamespace(
        read_tags=lambda: tags, finished_runs=lambda metrics=None: runs, complete_runs=lambda runs: list(runs)
    )
    answer = find_best(reader, x="q_bar", y="accuracy")
    assert answer.aim == Aim.from_tags(tags)
    return {frozenset(run.key for run in group.runs) for group in answer.listed}


def page_state(page):
    return json.loads(re.search(r'id="state">(.*?)</script>', page.read_text(encoding="utf-8"), re.S).group(1))


def front_of(tables):
    found = candidates(tables)
    return {frozenset(found[i].keys) for i in validation_front(tables, found)}


def searched(folder, seed, *, replicates=1, other_limit=False):
    """A search in which some configurations violate the basin constraint or another limit."""
    rng = np.random.default_rng(seed)
    for index in range(12):
        for again in range(replicates):
            values = {"val_q_bar_reset": rng.normal(-0.5, 0.6), "val_accuracy": 95 + rng.normal(0, 0.7)}
            values |= {"val_basin_upper_reset": 1.9 + rng.normal(0, 0.6), "val_ece": 3 + rng.normal()}
            values |= {f"test_{name}": rng.normal(90, 1) for name in ("accuracy",)} | {"test_q_bar_reset": rng.normal()}
            fine = values["val_basin_upper_reset"] <= 2 and not (other_limit and values["val_ece"] > 3)
            row = synthetic_results.trial(
                f"{index:02}-{again}", "constrained", again, role="replicate" if again else "search",
                beta=float(index), margin=2.0, status="done" if index < 11 else "diverged", feasible=fine, **values,
            )  # fmt: skip
            synthetic_results.write(folder, "trials", row["key"], [row])
    return read_tables(folder)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("replicates", [1, 3])
def test_the_front_is_that_of_best(seed, replicates, tmp_path):
    tables = searched(tmp_path, seed, replicates=replicates)
    assert front_of(tables) == best_front(tables, tables.rows)


@pytest.mark.parametrize("seed", range(5))
def test_the_front_is_that_of_best_where_the_sweep_has_another_limit(seed, tmp_path):
    tables = searched(tmp_path, seed, other_limit=True)
    assert front_of(tables) == best_front(tables, tables.rows, Limit("val_ece", "<=", 3.0))
    assert BASIN == "val_basin_upper_reset"


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Search and fresh seeds, without an unknown construction; the folder is written into."""
    folder = tmp_path_factory.mktemp("one") / "demo"
    names = ["deep", "constrained", "distilled"]
    synthetic_results.sweep(folder, {"constrained": 8, "distilled": 8}, dict.fromkeys(names, 3))
    return folder


def test_front_chosen_and_verdicts_are_one_in_page_figure_tables_and_summary(quick):
    tables = read_tables(quick)
    state = page_state(write_report(tables, formats=["svg"]))
    name, front = " · ".join(SETTING), front_of(tables)
    assert front == best_front(tables, tables.rows)

    data = connectivity_accuracy.draw(tables).data["/".join(SETTING)]
    assert {frozenset(keys) for keys in data["front"]} == front
    framed = tradeoff.draw(tables).data["/".join(SETTING)]["front"]
    assert {frozenset(keys) for keys in framed} == {keys for keys in front if "distilled" in min(keys)}
    assert {frozenset(point["keys"]) for point in state["fronts"][name]["accuracy"]} == front
    on_front = {key for key in state["trials"]["varied"]["key"] if any(key in keys for keys in front)}
    assert on_front == set().union(*front)
    summary = summary_text(tables)
    told = re.search(r"Pareto front .*", summary).group()
    assert set(re.findall(r"\(([^()]*)\)", told.partition(":")[2])) == {", ".join(sorted(keys)) for keys in front}

    chosen = {construction: one.keys for construction, one in best_by_construction(tables)[SETTING].items()}
    described = json.loads((quick / "figures/main.json").read_text())
    assert {name: one["keys"] for name, one in state["chosen"][name].items()} == chosen
    assert set(described["keys"]) == set().union(*chosen.values())
    assert {row["key"] for row in tables.rows if row["role"] != "search"} == set().union(*chosen.values())

    verdicts = {construction: one["verdict"] for construction, one in state["chosen"][name].items()}
    assert {one: words[0] for one, words in table_verdicts(main.build(tables)).items()} == verdicts
    assert {
        one: words[0]
        for one, words in table_verdicts(main.headline_sheet(tables, best_by_construction(tables)[SETTING])).items()
    } == verdicts
    rows = re.findall(r"^\| (deep|constrained|distilled) .*\| (\w+) +\|$", summary, re.M)
    assert dict(rows) == verdicts
    said = " ".join(answer_questions(tables)[SETTING])
    for construction, verdict in verdicts.items():
        word = {"yes": "in one basin", "no": "not in one basin"}[verdict]
        assert f"{construction.capitalize()}: {word} by accuracy" in said


def table_verdicts(sheet):
    """The three verdicts of each construction, as the table shows them."""
    names = [column.heading for column in sheet.columns]
    first, construction = names.index("one basin"), names.index("construction")
    return {row[construction].text(0): [cell.text(0) for cell in row[first : first + 3]] for row in sheet.rows}


def test_a_configuration_that_its_sweep_no_longer_chooses_is_not_reported(tmp_path):
    for key, beta, nll in (("a", 1.0, 0.1), ("b", 2.0, 0.2)):
        row = synthetic_results.trial(key, "constrained", 5, role="fresh", beta=beta, val_nll=nll)
        synthetic_results.write(tmp_path, "trials", key, [row])
    chosen = {"a": {"keys": ["a"], "chosen": False}, "b": {"keys": ["b"], "chosen": True}}
    assert best_by_construction(read_tables(tmp_path))[SETTING]["constrained"].keys == ["a"]
    (tmp_path / "verdicts.json").write_text(json.dumps(chosen))
    assert best_by_construction(read_tables(tmp_path))[SETTING]["constrained"].keys == ["b"]


@dataclass
class Told:
    """What one place says of a sweep: sets of trials' keys, and verdicts on the test split."""

    front: set[frozenset[str]]
    chosen: dict[str, frozenset[str]]
    """Construction → trials of the configuration that is reported."""
    verdicts: dict[str, str]
    seeds: dict[str, tuple[int, int]]
    """Construction → its finished seeds, and those that diverged."""


def told_by_best(printed):
    answer = json.loads(printed)
    groups = {group["runs"][0]["construction"]: group for group in (*answer["chosen"], *answer["references"])}
    return Told(
        {frozenset(run["key"] for run in group["runs"]) for group in answer["found"]},
        {name: frozenset(run["key"] for run in group["runs"]) for name, group in groups.items()},
        {name: group["verdicts"]["test"]["accuracy"]["answer"] for name, group in groups.items()},
        {name: (len(group["runs"]), group["verdicts"]["lost"]) for name, group in groups.items()},
    )


def told_by_summary(folder):
    """The summary names the trials of the front; the main table below it those of the chosen configurations."""
    summary = (folder / "figures/summary.md").read_text(encoding="utf-8")
    front = re.search(r"Pareto front .*", summary).group().partition(":")[2]
    chosen = json.loads((folder / "figures/main.json").read_text(encoding="utf-8"))["keys"]
    rows = re.findall(r"^\| (\w+) +\| ([^|]+?) +\|.*\| (yes|no|undecided) +\|$", summary, re.M)
    return Told(
        {frozenset(keys.split(", ")) for keys in re.findall(r"\(([^()]*)\)", front)},
        set(chosen),
        {name: verdict for name, _, verdict in rows},
        {name: read_seeds(text) for name, text, _ in rows},
    )


def read_seeds(text):
    """Numbers of finished and diverged seeds, of a cell such as `5 (1 diverged)`."""
    return tuple(int(number or 0) for number in re.fullmatch(r"(\d+)(?: \((\d+) diverged\))?", text).groups())


def told_by_page(folder):
    page, name = folder / "report.html", " · ".join(SETTING)
    state, headline = (
        page_state(page),
        page.read_text(encoding="utf-8").partition("<tbody>")[2].partition("</tbody>")[0],
    )
    cells = [[unescape(cell) for cell in re.findall(r"<t[dh][^>]*>([^<]*)<", row)] for row in headline.split("<tr>")]
    chosen = state["chosen"][name]
    return Told(
        {frozenset(point["keys"]) for point in state["fronts"][name]["accuracy"]},
        {construction: frozenset(one["keys"]) for construction, one in chosen.items()},
        {construction: one["verdict"] for construction, one in chosen.items()},
        {row[0]: read_seeds(row[1]) for row in cells if row},
    )


def told_by_mlflow(uri):
    """The verdicts of the experiment, and the front of the searched runs, as MLflow's own client reads them."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("quickstart")
    verdicts = [json.loads(text) for name, text in experiment.tags.items() if name.startswith("verdict.")]
    shown = {verdict["construction"]: verdict for verdict in verdicts if verdict["chosen"]}
    configurations = {}
    for run in client.search_runs([experiment.experiment_id], "attributes.status = 'FINISHED' and tags.key != ''"):
        if run.data.tags["role"] in ("search", "replicate"):
            configurations.setdefault(run.data.tags["configuration"], []).append(run.data)
    names = ("connectivity/val_q_bar_reset", "val/accuracy", "connectivity/val_basin_upper_reset")
    points = {}
    for runs in configurations.values():
        q_bar, accuracy, upper = (np.mean([run.metrics[name] for run in runs]) for name in names)
        if upper <= 2:
            points[frozenset(run.tags["key"] for run in runs)] = np.array([min(q_bar, 0), accuracy])
    return Told(
        {k for k, p in points.items() if not any((o >= p).all() and (o > p).any() for o in points.values())},
        {name: frozenset(verdict["keys"]) for name, verdict in shown.items()},
        {name: verdict["test"]["accuracy"]["answer"] for name, verdict in shown.items()},
        {name: (len(verdict["seeds"]), verdict["lost"]) for name, verdict in shown.items()},
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_five_places_tell_of_one_front_one_choice_and_one_verdict(logged, shell):
    """Command line, summary table, figure, page and MLflow, of a sweep whose trials were trained."""
    storage, folder = logged / "results", logged / "results/quickstart"
    axes = ("--x", "q_bar", "--y", "accuracy", "--format", "json", "--storage", str(storage))
    best = told_by_best(shell("best", "quickstart", *axes))
    assert {"deep", "constrained", "distilled"} <= best.chosen.keys()
    assert {"yes", "no"} <= set(best.verdicts.values())
    assert best.front
    assert told_by_mlflow(f"sqlite:///{storage / 'mlflow.db'}") == best
    page, summary = told_by_page(folder), told_by_summary(folder)
    assert page == best
    assert summary == replace(best, chosen=set().union(*best.chosen.values()))
    assert DIVERGED not in summary.chosen
    assert best.seeds["swe"][1] == 1
    figure = json.loads((folder / "figures/connectivity_accuracy.json").read_text(encoding="utf-8"))
    assert {frozenset(keys) for keys in figure["data"]["/".join(SETTING)]["front"]} == best.front


def test_a_seed_that_diverged_is_said_apart_and_is_no_seed(tmp_path):
    for construction, ends in (("deep", "done done done"), ("constrained", "done diverged done"), ("swe", "diverged")):
        for seed, status in enumerate(ends.split()):
            scores = {"test_accuracy": 90.0 + seed} if status == "done" else {}
            row = synthetic_results.trial(
                f"{construction}{seed}", construction, seed, role="reference", status=status, **scores
            )
            synthetic_results.write(tmp_path, "trials", row["key"], [row])
    tables = read_tables(tmp_path)
    chosen = best_by_construction(tables)[SETTING]
    assert {name: (one.keys, one.diverged) for name, one in chosen.items()} == {
        "deep": (["deep0", "deep1", "deep2"], 0),
        "constrained": (["constrained0", "constrained2"], 1),
    }
    for sheet in (main.headline_sheet(tables, best_by_construction(tables)[SETTING]), main.build(tables)):
        at = [column.name for column in sheet.columns].index("seeds")
        assert [row[at].text(0) for row in sheet.rows] == ["3", "2 (1 diverged)"]
    numbers = {row["construction"]: row["seeds"] for row in csv.DictReader(io.StringIO(sheet.csv()))}
    assert numbers == {"deep": "3", "constrained": "2"}
    summary = summary_text(tables)
    assert "5 finished trials (5 reference), 2 that diverged" in summary
    assert "Not compared, because every trial diverged or was stopped: swe." in summary
    assert "another recipe" not in summary
