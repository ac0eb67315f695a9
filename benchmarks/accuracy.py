"""Accuracy cost of bfloat16: the same networks trained in float32 and in bfloat16, paired by seed."""

from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
from scipy import stats  # type: ignore[import-untyped]

from basin.metrics.prediction import member_accuracies
from basin.prediction import predict
from basin.spec import Bounds
from basin.training.loop import State, Training, train
from basin.training.network import Precision
from basin.training.objective import Meter
from benchmarks import ensembles
from benchmarks.ensembles import Ensembles
from benchmarks.machine import describe_machine
from benchmarks.options import Options
from benchmarks.progress import paced
from benchmarks.report import Report, compare_timings
from benchmarks.timing import Contestant, time_interleaved

PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")


@dataclass(frozen=True, kw_only=True)
class Settings(ensembles.Settings):
    """Training settings; `members` is the number of seeds."""

    epochs: Annotated[int, Bounds(1)] = 8
    """Epochs of the cosine schedule."""
    lr: Annotated[float, Bounds(0)] = 0.2
    """Peak learning rate."""


def run(options: Options) -> Report:
    """Test accuracy, mean over seeds; difference with a 95 % t interval over seeds, the same init and order in both."""
    settings = options.settle(Settings(members=6, batch_size=100, images=3000))
    made = Ensembles(options, settings)
    accuracies: dict[str, torch.Tensor] = {}
    contestants: dict[str, Contestant] = {
        precision: partial(_train_and_score, made, settings, precision, accuracies) for precision in PRECISIONS
    }
    timings = time_interleaved(contestants, repeats=1, warm=False)
    slow, fast = (accuracies[precision] for precision in PRECISIONS)
    numbers = {f"test accuracy of {name}, mean over seeds (%)": float(accuracies[name].mean()) for name in PRECISIONS}
    low, high = _t_interval(fast - slow)
    numbers |= {
        "bfloat16 minus float32 (points)": float((fast - slow).mean()),
        "from (95 % over seeds)": low,
        "to": high,
        "standard deviation over seeds, float32 (points)": float(slow.std()),
    }
    table = compare_timings(settings.title, timings, unit="images", reference="float32")
    return Report("accuracy", describe_machine(options.device), (table,), numbers)


def _train_and_score(
    made: Ensembles, settings: Settings, precision: Precision, accuracies: dict[str, torch.Tensor]
) -> float:
    network = made.network("auto", precision)
    training = Training(epochs=settings.epochs, batch_size=settings.batch_size, lr=settings.lr)
    steps = training.steps(len(made.data.train))
    states = train(
        network,
        made.data,
        State(made.stack(network)),
        training=training,
        seed=0,
        members=range(settings.members),
        until=steps,
        meter=Meter(),
    )
    for _, reached in zip(paced(range(settings.epochs), f"epochs in {precision}"), states, strict=False):
        end = reached
    log_probs = predict(network, end.thetas, made.data.test, made.data).double()
    accuracies[precision] = member_accuracies(log_probs, made.data.test.labels.cpu())
    return settings.members * steps * settings.batch_size


def _t_interval(differences: torch.Tensor) -> tuple[float, float]:
    count = len(differences)
    reach = float(stats.t.ppf(0.975, count - 1) * differences.std() / count**0.5)
    return float(differences.mean()) - reach, float(differences.mean()) + reach
