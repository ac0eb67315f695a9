"""What a sweep will cost: the plan of a sweep before it is run is what its rows say afterwards."""

import io
from pathlib import Path

import pytest
from rich.console import Console
from tiny_sweep import row_of, study

from basin.place import Machine
from basin.runs import path as run_path
from sweeps.definition import hold
from sweeps.options import Options
from sweeps.plan import Plan, plan, rates, show
from sweeps.rates import Rate, kind, measured
from sweeps.store import Store
from sweeps.study import Study


def options(storage: Path, cache: Path, name: str = "quickstart", **changes: float) -> Options:
    return Options(name=name, storage=storage, cache=cache, machine=Machine(device="cpu"), **changes)  # type: ignore[arg-type]


def printed(planned: Plan, how: Options, given: float | None = None) -> str:
    text = io.StringIO()
    console = Console(file=text, width=200)
    show(planned, rates(planned, how, given=given, probing=False), how, console)
    return text.getvalue()


def test_before_the_sweep_is_what_its_rows_say_after(finished: Store, tmp_path: Path, image_cache: Path) -> None:
    before = plan(study(), options(tmp_path / "none", image_cache))
    assert not (tmp_path / "none").exists()  # nothing is written
    rows = {row["key"]: row for row in finished.rows()}
    known = [one for one in before.trials if one.role != "replicate"]
    assert {one.trial.key for one in known} == {key for key, row in rows.items() if row["role"] != "replicate"}
    for one in known:
        assert before.spends(one).passes == rows[one.trial.key]["passes"]
    replicates = [row for row in rows.values() if row["role"] == "replicate"]
    assert sum(one.left for one in before.trials if one.role == "replicate") == pytest.approx(len(replicates))
    assert before.counts == {"reference": (3, 0), "search": (3, 0), "replicate": (4, 0)}
    assert sum(map(before.missing, before.stages)) == 3 * 2 * 4  # three seeds, two members, four steps
    after = plan(study(), options(finished.folder.parent, image_cache))
    assert after.counts == {"reference": (3, 3), "search": (3, 3), "replicate": (4, 4)}
    assert sum(map(after.missing, after.stages)) == 0
    assert sum(one.left for one in after.trials) == 0


def test_a_longer_search_costs_its_new_trials(finished: Store, image_cache: Path) -> None:
    longer = plan(study().sized(5, None), options(finished.folder.parent, image_cache))
    assert longer.counts["search"] == (5, 3)
    left = [one for one in longer.trials if one.role == "search" and one.left]
    assert len(left) == 2
    learned = plan(study().sized(5, "tpe"), options(finished.folder.parent, image_cache))
    assert sum(one.left for one in learned.trials if one.role == "search") == pytest.approx(2)


def test_a_sweep_under_another_name_shares_the_stages(finished: Store, image_cache: Path) -> None:
    other = plan(study(), options(finished.folder.parent, image_cache, "other"))
    assert sum(map(other.missing, other.stages)) == 0
    assert other.counts["search"] == (3, 0)


def test_a_stage_half_way_costs_the_rest(finished: Store, tmp_path: Path, image_cache: Path) -> None:
    planned = plan(study(), options(finished.folder.parent, image_cache))
    stage = next(stage for stage in planned.stages if stage.member == 0)
    runs = tmp_path / "runs"
    file = run_path(planned.place.runs / stage.trial.recipe_key, 0, 2)
    copied = run_path(runs / stage.trial.recipe_key, 0, 2)
    copied.parent.mkdir(parents=True)
    copied.write_bytes(file.read_bytes())
    elsewhere = Plan(planned.stages, [], {}, planned.images, type(planned.place)(runs=runs))
    assert elsewhere.missing(stage) == 2
    copied.write_bytes(file.read_bytes()[:50])
    assert elsewhere.missing(stage) == 4  # torn: made from the start


def put_row(storage: Path, chosen: Study, changes: dict[str, object], seconds: float, device: str) -> None:
    store = Store(storage / "demo")
    store.folder.mkdir(parents=True, exist_ok=True)
    hold(store, chosen, 0)
    trial = chosen.trial(changes)
    spends, epoch = trial.construction.spends(trial.training.steps(100)), 2
    row = row_of(chosen, changes, passes=spends.passes, member_epochs=spends.passes / epoch, seconds=seconds)
    store.write(row["key"], {"trials": [{**row, "device_name": device}], "members": [], "history": [], "paths": []})


def test_a_rate_is_fitted_by_device(tmp_path: Path) -> None:
    """seconds = passes trained / 5 + 3: the deep ensemble's passes were trained in stages."""
    chosen = study()
    for device, speed in (("slow", 5.0), ("fast", 50.0)):
        for seed in range(3 if device == "slow" else 2):
            deep: dict[str, object] = {"construction": "deep", "seed": seed + 10 * int(speed)}
            put_row(tmp_path, chosen, deep, 3.0, device)
            for t in (0.0, 0.5):
                point = {"construction": "constrained", "t": t, "seed": seed + 10 * int(speed)}
                own = chosen.trial(point).construction.spends(4).own
                put_row(tmp_path, chosen, point, own / speed + 3.0, device)
    one = kind(chosen.base)
    slow, fast = measured(tmp_path, {one})[one]
    assert (slow.device, fast.device) == ("slow", "fast")  # most trials first
    assert (slow.passes, slow.beside) == pytest.approx((5.0, 3.0))
    assert (fast.passes, fast.beside) == pytest.approx((50.0, 3.0))
    assert slow.source == "fitted to 9 trials of demo"
    assert measured(tmp_path, {kind(study(width="0.5").base)}) == {}  # another network: nothing is known


def test_hours_are_said_or_how_to_know_them(tmp_path: Path, image_cache: Path) -> None:
    how = options(tmp_path / "none", image_cache, cpus_per_trial=2, gpus_per_trial=0.25)
    planned = plan(study(construction="constrained", t="0.5", beta="0"), how)
    text = printed(planned, how)
    assert "no rate is known of resnet8" in text
    assert "--probe" in text
    assert "hours" not in text
    # stages: 2 × 4 passes of each of 3 seeds; trials: (3 + 2) × 2 branches × 2 steps
    text = printed(planned, how, given=1 / 3600)
    assert "to train: 24 passes in stages and 20 in trials" in text
    assert "44 hours of one trial's resources, 88 core-hours, 11 GPU-hours" in text


def test_a_probe_measures_some_steps(tmp_path: Path, image_cache: Path) -> None:
    how = options(tmp_path / "none", image_cache)
    small = plan(study(model="mlp", hidden="8", width=None), how)
    ((rate,),) = rates(small, how, given=None, probing=True).values()
    assert isinstance(rate, Rate)
    assert rate.passes > 1
    assert rate.source.startswith("probe of ")
    assert not (tmp_path / "none").exists()


def test_replicates_of_each_configuration_are_counted(tmp_path: Path, image_cache: Path) -> None:
    """Three configurations on four seeds: the chosen two need no other ones. The deep ensembles have three."""
    several = plan(study().seeking(replicates=4), options(tmp_path / "none", image_cache))
    assert several.counts == {"reference": (3, 0), "search": (3, 0), "replicate": (9, 0)}
    assert sum(one.left for one in several.trials if one.role == "replicate") == pytest.approx(9)
    stages = {stage.trial.seed: 0 for stage in several.stages}
    assert list(stages) == [0, 1, 2, 3]
    two = plan(study().seeking(replicates=2), options(tmp_path / "none", image_cache))
    assert two.counts["replicate"] == (3 + 2, 0)
