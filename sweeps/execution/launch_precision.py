"""Resolve precision=auto once for a sweep: from its manifest, or by a measurement where its trials run."""

from collections.abc import Callable, Mapping

from ray.exceptions import RayError

from basin.environment import Place
from basin.errors import UsageError
from basin.provenance import collect_provenance
from basin.trial import Trial
from sweeps.execution.options import Options
from sweeps.execution.precision import Decision, decide_precision, describe_emulation, find_bfloat16
from sweeps.execution.provenance import check_environment
from sweeps.execution.session import open_session, run_on_node
from sweeps.storage.store import Store
from sweeps.study.manifest import recorded_precision
from sweeps.study.study import Study


def resolve_precision(study: Study, store: Store, decide: Callable[[Trial], Decision]) -> tuple[Study, Decision | None]:
    """Resolve precision=auto for all trials of a sweep: to that of its first launch, else to what `decide` says.

    Returns the decision, or None if nothing was to be decided.
    """
    if not study.auto_precision:
        return study, None
    if known := recorded_precision(store):
        return study.with_precision(**known), None
    decision = decide(study.base)
    return study.with_precision(decision.precision), decision


def decide_at_launch(trial: Trial, place: Place, options: Options, announce: Callable[[str], None]) -> Decision:
    """Decide on a machine that trials will run on: this one, or a node of the cluster that can run one.

    A measurement takes seconds, and is announced.

    A GPU is used by a task of Ray, so that the launcher takes none of its memory. Raises UsageError if the node cannot
    use the data.
    """
    here = _trials_run_here(place, options)
    if not here or find_bfloat16(place.torch_device):
        announce("precision=auto: measuring float32 and bfloat16 where the trials will run")
    if here:
        return decide_precision(trial, place)
    with open_session(options):
        try:
            return run_on_node(_decide_on_node, options, trial, place, collect_provenance())
        except RayError as error:
            words = (str(error).strip() or type(error).__name__).splitlines()[-1]
            raise UsageError(
                f"precision=auto could not be measured on a node: {words}; give --set precision=float32 or bfloat16"
            ) from error


def warn_of_emulation(trial: Trial, place: Place, options: Options) -> str | None:
    """Warn of a trial in bfloat16 where it is emulated; None if there is nothing to warn of. Needs Ray's connection."""
    if "bfloat16" not in (trial.training.precision, trial.evaluation.path_precision):
        return None
    if _trials_run_here(place, options):
        return describe_emulation(trial, place)
    try:
        return run_on_node(describe_emulation, options, trial, place)
    except RayError:  # the trials report what is wrong there
        return None


def _trials_run_here(place: Place, options: Options) -> bool:
    return options.address == "local" and place.torch_device.type == "cpu"


def _decide_on_node(trial: Trial, place: Place, facts: Mapping[str, str]) -> Decision:
    check_environment(facts)
    return decide_precision(trial, place)
