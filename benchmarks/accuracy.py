"""Whether speed costs accuracy: the same networks trained in float32 and in bfloat16, compared seed by seed."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
from scipy import stats  # type: ignore[import-untyped]

from basin.evaluation import predict
from basin.metrics.prediction import member_accuracies
from basin.network import Precision
from basin.objective import Meter
from basin.spec import Bounds
from basin.training import State, Training, train
from benchmarks import ensembles
from benchmarks.ensembles import Ensembles
from benchmarks.machine import describe
from benchmarks.options import Options
from benchmarks.report import Report, compare
from benchmarks.timing import Contestant, interleaved

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class Settings(ensembles.Settings):
    """What is trained; `members` is the number of seeds."""

    epochs: Annotated[int, Bounds(1)] = 8
    """Of the schedule, cosine from the learning rate."""
    lr: Annotated[float, Bounds(0)] = 0.2
    """Peak learning rate."""


def run(options: Options) -> Report:
    """Test accuracy, mean over seeds; difference with a 95 % t interval over seeds, the same init and order in both."""
    settings = options.settle(Settings(members=6, batch_size=100, images=3000))
    made = Ensembles(options, settings)
    found: dict[str, torch.Tensor] = {}
    contestants: dict[str, Contestant] = {
        precision: partial(_trained, made, settings, precision, found) for precision in PRECISIONS
    }
    timings = interleaved(contestants, repeats=1, warm=False)
    slow, fast = (found[precision] for precision in PRECISIONS)
    numbers = {f"test accuracy of {name}, mean over seeds (%)": float(found[name].mean()) for name in PRECISIONS}
    low, high = _interval(fast - slow)
    numbers |= {
        "bfloat16 minus float32 (points)": float((fast - slow).mean()),
        "from (95 % over seeds)": low,
        "to": high,
        "standard deviation over seeds, float32 (points)": float(slow.std()),
    }
    table = compare(settings.title, timings, unit="images", reference="float32")
    return Report("accuracy", describe(options.device), (table,), numbers)


def _trained(made: Ensembles, settings: Settings, precision: Precision, found: dict[str, torch.Tensor]) -> float:
    network = made.network("auto", precision)
    training = Training(epochs=settings.epochs, batch_size=settings.batch_size, lr=settings.lr)
    steps = training.steps(len(made.data.train))
    *_, end = train(
        network,
        made.data,
        State(made.stack(network)),
        training=training,
        seed=0,
        members=range(settings.members),
        until=steps,
        meter=Meter(),
    )
    log_probs = predict(network, end.thetas, made.data.test, made.data).double()
    found[precision] = member_accuracies(log_probs, made.data.test.labels.cpu())
    return settings.members * steps * settings.batch_size


def _interval(differences: torch.Tensor) -> tuple[float, float]:
    count = len(differences)
    reach = float(stats.t.ppf(0.975, count - 1) * differences.std() / count**0.5)
    return float(differences.mean()) - reach, float(differences.mean()) + reach
