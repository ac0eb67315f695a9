"""What a sweep will cost: the plan of a sweep before it is run is what its rows say afterwards."""

import io
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from rich.console import Console

from basin.environment import Machine
from basin.stages import state_path as run_path
from cli.plan_tables import print_plan
from sweeps.execution import plan
from sweeps.execution.disk import estimate_disk
from sweeps.execution.options import Options
from sweeps.execution.plan import Plan, known_throughput, plan_sweep
from sweeps.execution.plane_cost import estimate_planes
from sweeps.execution.throughput import Throughput, measured_throughput, trial_kind
from sweeps.storage.store import Store
from sweeps.study.manifest import update_manifest
from sweeps.study.study import Study
from tests.support.tiny_sweep import row_of, study


def options(storage: Path, cache: Path, name: str = "quickstart", **changes: float) -> Options:
    return Options(name=name, storage=storage, cache=cache, machine=Machine(device="cpu"), **changes)  # type: ignore[arg-type]


def printed(planned: Plan, how: Options, given: float | None = None) -> str:
    text = io.StringIO()
    console = Console(file=text, width=200)
    print_plan(planned, known_throughput(planned, how, given=given, probing=False), how, console)
    return text.getvalue()


def test_before_the_sweep_is_what_its_rows_say_after(finished: Store, tmp_path: Path, image_cache: Path) -> None:
    before = plan_sweep(study(), options(tmp_path / "none", image_cache))
    assert not (tmp_path / "none").exists()  # nothing is written
    rows = {row["key"]: row for row in finished.rows()}
    known = [one for one in before.trials if one.role != "fresh"]
    assert {one.trial.key for one in known} == {key for key, row in rows.items() if row["role"] != "fresh"}
    for one in known:
        assert before.spent_passes(one).passes == rows[one.trial.key]["passes"]
    fresh = [row for row in rows.values() if row["role"] == "fresh"]
    assert sum(one.left for one in before.trials if one.role == "fresh") == pytest.approx(len(fresh))
    assert before.counts == {"reference": (2, 0), "search": (3, 0), "fresh": (4, 0)}
    assert sum(map(before.missing_passes, before.stages)) == 3 * 2 * 4  # three seeds, two members, four steps
    after = plan_sweep(study(), options(finished.folder.parent, image_cache))
    assert after.counts == {"reference": (2, 2), "search": (3, 3), "fresh": (4, 4)}
    assert sum(map(after.missing_passes, after.stages)) == 0
    assert sum(one.left for one in after.trials) == 0


def test_stages_that_are_planned_already_are_taken(
    tmp_path: Path, image_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = plan_sweep(study(), options(tmp_path, image_cache)).stages
    monkeypatch.setattr(plan, "plan_stages", None)
    assert plan_sweep(study(), options(tmp_path, image_cache), stages).stages == stages


def test_a_longer_search_costs_its_new_trials(finished: Store, image_cache: Path) -> None:
    longer = plan_sweep(study().with_size(5, None), options(finished.folder.parent, image_cache))
    assert longer.counts["search"] == (5, 3)
    left = [one for one in longer.trials if one.role == "search" and one.left]
    assert len(left) == 2
    learned = plan_sweep(study().with_size(5, "tpe"), options(finished.folder.parent, image_cache))
    assert sum(one.left for one in learned.trials if one.role == "search") == pytest.approx(2)


def test_kept_networks_are_only_measured(finished: Store, tmp_path: Path, image_cache: Path) -> None:
    """An earlier version of the evaluation made the rows: they are made again, and nothing is trained."""
    storage = tmp_path / "storage"
    shutil.copytree(finished.folder.parent, storage)
    held = storage / "quickstart" / "sweep.json"
    known = json.loads(held.read_text())
    known["versions"]["evaluation"] -= 1
    held.write_text(json.dumps(known))
    planned = plan_sweep(study(), options(storage, image_cache))
    first = [one for one in planned.trials if one.role != "fresh"]
    assert sum(one.left for one in first) == 2 + 3
    assert {planned.spent_passes(one).trained for one in first} == {0}
    fresh = plan_sweep(study(), options(storage, image_cache, "other"))
    spends = [
        (planned.spent_passes(one).passes, fresh.spent_passes(one).passes, fresh.spent_passes(one).trained)
        for one in first
    ]
    assert all(kept == whole for kept, whole, _ in spends)
    assert sum(own for *_, own in spends) > 0


def test_a_sweep_under_another_name_shares_the_stages(finished: Store, image_cache: Path) -> None:
    other = plan_sweep(study(), options(finished.folder.parent, image_cache, "other"))
    assert sum(map(other.missing_passes, other.stages)) == 0
    assert other.counts["search"] == (3, 0)


def test_a_stage_half_way_costs_the_rest(finished: Store, tmp_path: Path, image_cache: Path) -> None:
    planned = plan_sweep(study(), options(finished.folder.parent, image_cache))
    stage = next(stage for stage in planned.stages if stage.member == 0)
    runs = tmp_path / "runs"
    file = run_path(planned.place.runs / stage.trial.recipe_key, 0, 2)
    copied = run_path(runs / stage.trial.recipe_key, 0, 2)
    copied.parent.mkdir(parents=True)
    copied.write_bytes(file.read_bytes())
    elsewhere = replace(planned, place=type(planned.place)(runs=runs))
    assert elsewhere.missing_passes(stage) == 2
    copied.write_bytes(file.read_bytes()[:50])
    assert elsewhere.missing_passes(stage) == 4  # torn: made from the start


def put_row(storage: Path, chosen: Study, changes: dict[str, object], seconds: float, device: str) -> None:
    store = Store(storage / "demo")
    store.folder.mkdir(parents=True, exist_ok=True)
    update_manifest(store, chosen, 0)
    trial = chosen.resolve_trial(changes)
    spends, epoch = trial.construction.spends(trial.training.steps(100)), 2
    row = row_of(chosen, changes, passes=spends.passes, member_epochs=spends.passes / epoch, seconds=seconds)
    store.write_tables(
        row["key"], {"trials": [{**row, "device_name": device}], "members": [], "history": [], "paths": []}
    )


def test_a_rate_is_fitted_by_device(tmp_path: Path) -> None:
    """seconds = passes trained / 5 + 3: the deep ensemble's passes were trained in stages."""
    chosen = study()
    for device, speed in (("slow", 5.0), ("fast", 50.0)):
        for seed in range(3 if device == "slow" else 2):
            deep: dict[str, object] = {"construction": "deep", "seed": seed + 10 * int(speed)}
            put_row(tmp_path, chosen, deep, 3.0, device)
            for t in (0.0, 0.5):
                point = {"construction": "constrained", "t": t, "seed": seed + 10 * int(speed)}
                own = chosen.resolve_trial(point).construction.spends(4).trained
                put_row(tmp_path, chosen, point, own / speed + 3.0, device)
    one = trial_kind(chosen.base)
    slow, fast = measured_throughput(tmp_path, {one})[one]
    assert (slow.device, fast.device) == ("slow", "fast")  # most trials first
    assert (slow.passes, slow.overhead) == pytest.approx((5.0, 3.0))
    assert (fast.passes, fast.overhead) == pytest.approx((50.0, 3.0))
    assert slow.source == "fitted to 9 trials of demo"
    assert (
        measured_throughput(tmp_path, {trial_kind(study(width="0.5").base)}) == {}
    )  # another network: nothing is known
    other = trial_kind(study(alphas="21", progress_every="1").base)
    rates = measured_throughput(tmp_path, {one, other})
    assert [(rate.device, rate.passes) for rate in rates[other]] == [("slow", slow.passes), ("fast", fast.passes)]
    assert "other evaluation settings" in rates[other][0].source
    assert rates[one] == [slow, fast]


def test_hours_are_said_or_how_to_know_them(tmp_path: Path, image_cache: Path) -> None:
    how = options(tmp_path / "none", image_cache, cpus_per_trial=2, gpus_per_trial=0.25)
    planned = plan_sweep(study(construction="constrained", t="0.5", beta="0"), how)
    text = printed(planned, how)
    assert "no throughput is known for resnet8" in text
    assert "--probe" in text
    assert "hours" not in text
    # stages: 2 × 4 passes of each of 2 reported seeds, the trunk's 2 of the search seed; trials: (3 + 2) × 2 × 2 steps
    text = printed(planned, how, given=1 / 3600)
    assert "to train: 18 passes in shared stages and 20 in trials" in text
    assert "38 hours with the resources of one trial, 76 core-hours, 9.5 GPU-hours" in text


def test_trials_of_other_learning_rates_train_their_own_stages(tmp_path: Path, image_cache: Path) -> None:
    how = options(tmp_path / "none", image_cache)
    alike = study(construction="constrained", t="0.5", beta="0")
    planned = plan_sweep(alike.search_also(["lr"]), how)
    assert {stage.trial.seed for stage in planned.stages} == {1, 2}  # of the references: the search shares none
    # as above, and the trunk of 2 steps of each of 3 + 2 trials
    assert "to train: 16 passes in shared stages and 30 in trials" in printed(planned, how)


def test_a_probe_measures_some_steps(tmp_path: Path, image_cache: Path) -> None:
    how = options(tmp_path / "none", image_cache)
    small = plan_sweep(study(model="mlp", hidden="8", width=None), how)
    ((rate,),) = known_throughput(small, how, given=None, probing=True).values()
    assert isinstance(rate, Throughput)
    assert rate.passes > 1
    assert rate.source.startswith("probe of ")
    assert not (tmp_path / "none").exists()


def test_replicates_of_each_configuration_are_counted(tmp_path: Path, image_cache: Path) -> None:
    """Three configurations on four seeds; the two chosen ones and the deep ensembles on two fresh seeds."""
    several = plan_sweep(study().with_aim(replicates=4), options(tmp_path / "none", image_cache))
    assert several.counts == {"reference": (2, 0), "search": (3, 0), "replicate": (9, 0), "fresh": (4, 0)}
    for role, count in (("replicate", 9), ("fresh", 4)):
        own = [one for one in several.trials if one.role == role]
        assert sum(one.left for one in own) == pytest.approx(count)
        assert {one.trial.seed for one in own} == ({1, 2, 3} if role == "replicate" else {4, 5})
    assert list({stage.trial.seed: 0 for stage in several.stages}) == [0, 1, 2, 3, 4, 5]
    two = plan_sweep(study().with_aim(replicates=2).with_size(None, None, 5), options(tmp_path / "none", image_cache))
    assert two.counts == {"reference": (5, 0), "search": (3, 0), "replicate": (3, 0), "fresh": (10, 0)}


def test_planes_are_those_of_first_seeds_and_their_networks_predict_test_and_training_images(
    tmp_path: Path, image_cache: Path
) -> None:
    how = options(tmp_path / "none", image_cache)
    planned = plan_sweep(replace(study(plane_points=None), plane_points=5), how)
    # of the deep ensemble, and of the two configurations that will be chosen, one of each construction
    cost = estimate_planes(planned)
    assert cost.planes == pytest.approx(3)
    assert cost.networks == pytest.approx(3 * 5 * 5)
    assert cost.images == pytest.approx(3 * 25 * (60 + 100))  # test_size and, for BatchNorm, train_size
    assert cost.passes == pytest.approx(cost.images / 50 / 3)
    assert f"planes: 3, of 75 networks, which predict 12,000 images: no longer than about {cost.passes:.0f} passes" in (
        printed(planned, how)
    )
    plain = estimate_planes(plan_sweep(replace(study(norm="layer", plane_points=None), plane_points=5), how))
    assert plain.images == pytest.approx(3 * 25 * 60)
    for without in (study(plane_points="0"), replace(study(plane_points=None), plane_points=0)):
        assert "planes:" not in printed(plan_sweep(without, how), how)


def test_disk_without_trials_is_that_of_the_parameters(finished: Store, tmp_path: Path, image_cache: Path) -> None:
    """As large as what the sweep has written, but for the headers of its small files."""
    planned = plan_sweep(study(), options(tmp_path / "none", image_cache))
    disk = estimate_disk(planned, tmp_path / "none", logged=True)
    written = sum(path.stat().st_size for path in (finished.folder.parent / "runs").rglob("*.safetensors"))
    assert 0.6 * written < disk.stages < written
    assert (disk.sampled, disk.guessed) == (0, True)
    weights = sum(path.stat().st_size for path in (finished.folder / "weights").iterdir())
    assert 0.2 * weights < disk.trials < weights  # permuted and distilled ensembles store further networks
    text = printed(planned, options(tmp_path / "none", image_cache))
    assert f"from {disk.parameters:,} numbers of a network; tables come on top" in text


def test_disk_is_measured_on_trials_of_the_same_kind(finished: Store, image_cache: Path) -> None:
    where = options(finished.folder.parent, image_cache)
    whole = estimate_disk(plan_sweep(study(), where), where.storage, logged=True)
    assert (whole.trials, whole.stages) == (0, 0)  # nothing is left
    longer = plan_sweep(study().with_size(5, None), where)
    disk = estimate_disk(longer, where.storage, logged=False)
    left = {one.trial.flat()["construction"]: one.left for one in longer.trials if one.left}
    sizes: dict[str, list[int]] = {name: [] for name in left}
    for row in finished.rows():
        if row["construction"] in sizes:
            sizes[row["construction"]].append(sum(path.stat().st_size for path in finished.trial_files(row["key"])))
    counts = Counter(str(one.trial.flat()["construction"]) for one in longer.trials if one.left)
    assert disk.trials == pytest.approx(sum(counts[name] * fmean(sizes[name]) for name in left))
    assert (disk.guessed, disk.sampled) == (False, sum(map(len, sizes.values())))
    twice = estimate_disk(longer, where.storage, logged=True)
    assert disk.trials < twice.trials < 2 * disk.trials  # MLflow keeps the tables, not the weights
    assert f"measured on {disk.sampled} trials of this storage" in printed(longer, where)


def test_the_price_is_that_of_machines_that_run_trials_side_by_side(
    tmp_path: Path, image_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def price(**changes: float) -> str:
        how = options(tmp_path / "none", image_cache, **changes)
        text = io.StringIO()
        planned = plan_sweep(study(), how)
        known = known_throughput(planned, how, given=0.01, probing=False)
        print_plan(planned, known, how, Console(file=text, width=200), price=3.0)
        (line,) = [line for line in text.getvalue().splitlines() if line.startswith("price: ")]
        return line

    monkeypatch.setattr("sweeps.execution.processors.usable_cpus", lambda: 8)
    alone, pairs, all_fit = price(concurrency=1), price(cpus_per_trial=4), price(concurrency=4)
    hours = float(alone.partition("for ")[2].partition(" ")[0])
    for line, at_once in ((alone, 1), (pairs, 2), (all_fit, 4)):
        amount, used = (float(line.partition(mark)[2].split()[0].rstrip(",")) for mark in ("price: ", "for "))
        assert used == pytest.approx(hours / at_once, rel=0.01)
        assert amount == pytest.approx(3 * used, rel=0.01)
        assert f"with {at_once} trials at once" in line
    assert "as many as fit this machine" in pairs
    assert "--concurrency" in alone
