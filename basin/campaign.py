"""`python -m basin campaign`: run the trials of a campaign file on this machine, without Ray, MLflow, Optuna or Arrow.

`launch.py plan STUDY --campaign FILE` writes the file, and `launch.py import FOLDER` makes a sweep of the outcomes.
"""

import argparse
import json
import shutil
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from basin.command_line import Parser, say
from basin.constructions import constructions
from basin.environment import Place, parse_settings
from basin.errors import UsageError
from basin.files import write_atomically
from basin.keys import Contents, describe_differences
from basin.lookup import weights_path
from basin.outcome_file import read_ending, write_outcome
from basin.plugins import import_plugins
from basin.processors import usable_cpus
from basin.provenance import collect_provenance
from basin.saved import ensemble_file
from basin.shared_options import add_shared_options, place_of
from basin.system_errors import storage_errors_reported
from basin.training.loop import DivergedError
from basin.trial import Outcome, Trial, measure_kept, overlay, run, trial_of_names
from basin.work import Done, Pool, Work, plan_work

FORMAT = 1
"""Version of the campaign file."""
COPY = "campaign.json"
"""Copy of the campaign file beside its outcomes."""


@dataclass(frozen=True)
class Campaign:
    """The trials of a study, resolved on the machine that has the whole system."""

    name: str
    trials: Mapping[str, Trial]
    """Key → trial."""
    content: Mapping[str, Any]
    """The whole file."""


def read_campaign(file: Path) -> Campaign:
    """Read a campaign file; raises UsageError if it is none, or if this code would run other trials."""
    try:
        content = dict(json.loads(file.read_text(encoding="utf-8")))
        made, entries = content["format"], content["trials"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"{file}: expected a campaign file, as `launch.py plan STUDY --campaign FILE` writes it"
        ) from error
    if made != FORMAT:
        raise UsageError(f"{file}: has format {made}, expected {FORMAT}: use one version of the code for both commands")
    trials = {}
    for entry in entries:
        trial = trial_of_settings(entry["settings"])
        if trial.key != entry["key"]:
            differences = describe_differences(entry["versions"], class_versions(trial))
            raise UsageError(
                f"{file}: was written by other code, in which trial {entry['key']} means something else "
                f"({differences or 'other fields'}): use that code here, or write the file again"
            )
        trials[trial.key] = trial
    return Campaign(content["name"], trials, content)


def trial_of_settings(settings: Mapping[str, Any]) -> Trial:
    """The trial with these values of all its fields (`Trial.flat`)."""
    base = trial_of_names(settings)
    named = {name: settings[name] for name in base.fields() if name in settings}
    trial = overlay(base, {**named, "seed": settings["seed"]})
    return replace(trial, data_hash=settings["data_hash"], ood_hash=settings["ood_hash"])


def class_versions(trial: Trial) -> Contents:
    """Versions of what gives the trial's values their meaning, beyond 1."""
    return {name: value for name, value in trial.contents.items() if name.endswith(".version")}


def outcome_path(folder: Path, key: str) -> Path:
    """File with the outcome of a trial."""
    return folder / "outcomes" / f"{key}.safetensors"


def run_campaign(arguments: Sequence[str]) -> int:
    """Run what is left of a campaign and print a line for each trial; 1 if a trial failed."""
    began = time.monotonic()
    options = _build_parser().parse_args(arguments)
    import_plugins(options.plugins)
    campaign = read_campaign(options.file)
    out: Path = options.out or Path(campaign.name)
    place = _make_place(options, out)
    with storage_errors_reported(out):
        _claim_folder(out, options.file, campaign)
        launch = Launch(campaign, out, began + options.seconds if options.seconds else None)
        works = plan_work([trial for key, trial in campaign.trials.items() if key not in launch.finished], place)
        pool = Pool(
            place, partial(_run_trial, place=place, out=out), _count_workers(options.workers, place), options.plugins
        )
        print(
            f"campaign {campaign.name}: {launch.describe_rest()}, {pool.workers} at once; outcomes in {out}", flush=True
        )
        previous = signal.signal(signal.SIGTERM, _raise_interrupt)
        try:
            pool.run(works, launch.report, launch.may_begin)
        finally:
            signal.signal(signal.SIGTERM, previous)
            say(f"campaign {campaign.name}: {launch.describe_rest()}")
    return 1 if launch.failed else 0


def _raise_interrupt(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def _make_place(options: argparse.Namespace, out: Path) -> Place:
    machine, changes = parse_settings(options.set)
    if changes:
        raise UsageError(
            f"--set {next(iter(changes))}=…: the trials of a campaign are fixed: give it to `launch.py plan` instead"
        )
    place = place_of(options, machine, options.runs or out / "runs")
    workers = _count_workers(options.workers, place)
    return replace(place, gpu_share=1 / workers) if place.torch_device.type == "cuda" else place


def _count_workers(stated: int | None, place: Place) -> int:
    """Trials at once: on a GPU one, on a CPU as many as it has room for."""
    if stated is not None and stated < 1:
        raise UsageError(f"--workers {stated}: expected 1 or more")
    fitting = 1 if place.torch_device.type == "cuda" else max(1, usable_cpus() // place.machine.threads)
    return stated or fitting


def _claim_folder(out: Path, file: Path, campaign: Campaign) -> None:
    """Copy the campaign file into the folder; raises UsageError if the folder holds another campaign."""
    copy = out / COPY
    if copy.exists():
        known = read_campaign(copy)
        if known.name != campaign.name or not known.trials.keys() <= campaign.trials.keys():
            raise UsageError(f"--out {out}: holds another campaign, {known.name}: give another folder")
    write_atomically(copy, file.read_bytes())


def _run_trial(work: Work, place: Place, out: Path) -> dict[str, float] | None:
    """Run a trial, or measure its networks if they are stored; write networks and outcome. None if it diverged."""
    began, trial = time.perf_counter(), work.trial
    scratch = out / "scratch" / trial.key
    weights = weights_path(out, trial.ensemble_key)
    outcome: Outcome | None = None
    try:
        outcome = measure_kept(trial, place, weights) or run(trial, replace(place, scratch=scratch))
        write_atomically(weights, ensemble_file(outcome.saved, trial.ensemble_key))
    except DivergedError:
        pass
    spent = {"seconds": time.perf_counter() - began, "passes": work.passes}
    write_outcome(outcome_path(out, trial.key), trial, outcome, facts=collect_provenance(), **spent)
    shutil.rmtree(scratch, ignore_errors=True)
    return outcome.measured.scores if outcome else None


def _kind_of(trial: Trial) -> str:
    return constructions.name(trial.construction)


class Launch:
    """The state of one launch: what is finished, and how long such work took."""

    def __init__(self, campaign: Campaign, out: Path, end: float | None) -> None:
        self.campaign, self.end, self.failed = campaign, end, 0
        endings = [read_ending(outcome_path(out, key)) for key in campaign.trials]
        ended = [one for one in endings if one]
        self.finished = {one.key for one in ended}
        self.times = [(_kind_of(campaign.trials[one.key]), one.passes, one.seconds) for one in ended]
        """Kind, passes and seconds of finished work."""

    def may_begin(self, work: Work) -> bool:
        """Tell whether work can be finished before the end, by the times of such work so far."""
        return self.end is None or time.monotonic() + self.expected_seconds(work) <= self.end

    def expected_seconds(self, work: Work) -> float:
        """The most that work of this kind took, for as many passes; at first 0.

        Of an unknown kind: the most that training so many passes took, and that measuring alone took.
        """
        same = [one for one in self.times if one[0] == work.kind]
        longest = max((_scaled(work.passes, *one) for one in same or self.times), default=0.0)
        measuring = max((seconds for _, passes, seconds in self.times if not passes), default=0.0)
        return longest if same else longest + measuring

    def report(self, done: Done) -> None:
        """Note finished work, and print its line."""
        name = f"{_kind_of(done.work.trial)}, seed {done.work.trial.seed}"
        if done.error:
            self.failed += done.work.member is None
            say(f"{name}: failed: {done.error}")
            return
        self.times.append((done.work.kind, done.work.passes, done.seconds))
        if done.work.member is not None:
            print(f"stage, seed {done.work.trial.seed}, member {done.work.member}: {done.seconds:.0f} s", flush=True)
            return
        self.finished.add(done.work.trial.key)
        words = _describe_scores(done.result) if done.result else "diverged"
        count = f"{len(self.finished)} of {len(self.campaign.trials)}"
        print(f"{name}: {words}; {done.seconds:.0f} s ({count})", flush=True)

    def describe_rest(self) -> str:
        """Count the finished, failed and remaining trials."""
        left = len(self.campaign.trials) - len(self.finished) - self.failed
        failed = f", {self.failed} failed" if self.failed else ""
        return f"{len(self.finished)} trials finished{failed}, {left} left"


def _scaled(wanted: int, _: str, passes: int, seconds: float) -> float:
    """The seconds of work for the wanted passes, if both train."""
    return seconds * wanted / passes if wanted and passes else seconds


def _describe_scores(scores: Mapping[str, float]) -> str:
    words = f"test accuracy {scores['test_accuracy']:.2f} %, NLL {scores['test_nll']:.4f}"
    barrier = scores.get("test_barrier_reset")
    return words if barrier is None else f"{words}, barrier {barrier:.1f} points"


def _build_parser() -> Parser:
    parser = Parser(
        "python -m basin campaign", description="Run the trials of a campaign file; rerun the command to continue."
    )
    parser.add_argument("file", type=Path, help="file of `launch.py plan STUDY --campaign FILE`")
    add_shared_options(parser, "device, threads, engine or compile")
    parser.add_argument("--out", type=Path, help="folder of the outcomes; default: the campaign's name")
    parser.add_argument("--runs", type=Path, help="folder of shared stages; default: OUT/runs")
    parser.add_argument("--workers", type=int, help="trials at once; default: 1 on a GPU, else one for each CPU")
    parser.add_argument("--seconds", type=float, help="begin no trial that would not be finished after so many seconds")
    return parser
