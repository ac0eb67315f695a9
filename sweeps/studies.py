"""The studies: one function each. Without --data they use digits, so that each of them runs anywhere in minutes.

With --data, grids start from the base of `cifar10-small`. A sweep has one dataset: run a study once for each, under a
name of its own; trials of one recipe share their trunks and teachers wherever they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

from basin.constructions import constructions
from basin.data import Split, datasets
from basin.errors import UsageError, one_of
from basin.measure import Evaluation
from basin.models import models
from basin.spec import describe
from basin.training import Training
from basin.trial import Trial
from sweeps.space import Space
from sweeps.study import Changes, Study

SEARCHED = ("beta", "t", "temperature", "weight")
VIT: Changes = {
    "model": "vit",
    "optimizer": "adamw",
    "lr": 1e-3,
    "weight_decay": 0.05,
}
"""What a transformer is trained with."""

NAMES = {
    "cifar-10-": "cifar10",
    "cifar-100-": "cifar100",
    "tiny-imagenet": "tiny-imagenet",
    "fashion-mnist": "fashion-mnist",
}
"""How the official files and folders begin → dataset."""

StudyFunction = Callable[[Path | None], Study]
STUDIES: dict[str, StudyFunction] = {}


def study(function: StudyFunction) -> StudyFunction:
    """Register a study under its function's name, with dashes."""
    STUDIES[function.__name__.replace("_", "-")] = function
    return function


def build(name: str, data: Path | None) -> Study:
    """The study of that name; raises UsageError naming those there are."""
    if name not in STUDIES:
        raise one_of("study", name, STUDIES)
    return STUDIES[name](data)


@study
def quickstart(data: Path | None) -> Study:
    """Digits, ResNet8: constrained and distilled ensembles against the deep ensemble, in minutes on two cores."""
    return Study(
        base=Trial(
            dataset=datasets.make("digits"),
            model=models.make("resnet8", width=0.5),
            construction=constructions.make("deep"),
            training=Training(epochs=30, batch_size=50, lr=0.1),
            evaluation=Evaluation(progress_every=9),
        ),
        space=Space(("constrained", "distilled"), SEARCHED),
        trials=24,
    )


@study
def cifar10_small(data: Path | None) -> Study:
    """CIFAR-10, or what --data holds, at 32 px, ResNet20, a short schedule on a subset, for two cores."""
    name = "cifar10" if data is None else _dataset_of(data)
    sizes = {"resolution"} & {field.name for field in describe(datasets.entry(name)[0])}
    dataset = datasets.make(name, **dict.fromkeys(sizes, 32))
    return Study(
        base=Trial(
            dataset=dataset,
            model=models.make("resnet20"),
            construction=constructions.make("deep", members=3),
            split=Split(train_size=3000, val_size=1000, test_size=1000),
            training=Training(epochs=10, batch_size=100, lr=0.2, precision="bfloat16"),
            evaluation=Evaluation(
                alphas=5,
                hull_points=4,
                policies="reset",
                bn_images=256,
                path_images=256,
                path_precision="bfloat16",
                progress_every=5,
            ),
        ),
        space=Space(("constrained", "distilled"), SEARCHED),
        trials=12,
    )


@study
def time_parameter(data: Path | None) -> Study:
    """Figure 5: branches of a trunk at time t, with and without a constraint, on a grid of t."""
    times = (0.0, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)
    grid = [{"construction": "constrained", "t": t, "beta": beta} for t, beta in product(times, (0.0, 1.0))]
    return _grid(data, grid)


@study
def constraint(data: Path | None) -> Study:
    """The table of constraint strength against the time parameter, and each constraint at one strength."""
    grid = [
        {"construction": "constrained", "t": t, "beta": beta}
        for t, beta in product((0.0, 0.05, 0.2), (0.0, 0.1, 0.3, 1.0, 3.0, 10.0))
    ]
    kinds = [{"construction": "constrained", "t": 0.05, "constraint": kind} for kind in ("star", "simplex", "proximal")]
    return _grid(data, [*grid, *kinds])


@study
def tradeoff(data: Path | None) -> Study:
    """The map of constraint strength against distillation temperature."""
    grid = [
        {"construction": "distilled", "t": 0.1, "beta": beta, "temperature": temperature}
        for beta, temperature in product((0.0, 0.1, 1.0, 10.0), (0.5, 1.0, 2.0, 4.0, 8.0))
    ]
    return _grid(data, grid)


@study
def temperature(data: Path | None) -> Study:
    """The table of distillation temperature against the weight of the teacher."""
    grid = [
        {"construction": "distilled", "t": 0.1, "temperature": temperature, "weight": weight}
        for temperature, weight in product((0.5, 1.0, 2.0, 4.0, 8.0), (0.3, 0.6, 0.9, 1.0))
    ]
    return _grid(data, grid)


@study
def alignment(data: Path | None) -> Study:
    """Permuted ensembles by width, matching and BatchNorm policy."""
    widths = (0.5, 1.0, 2.0, 4.0)
    deep = [{"construction": "deep", "width": width} for width in widths]
    permuted = [
        {"construction": "permuted", "width": width, "matching": matching}
        for width, matching in product(widths, ("weights", "activations"))
    ]
    chosen = _grid(data, deep + permuted)
    evaluation = replace(chosen.base.evaluation, policies="all")
    return replace(chosen, base=replace(chosen.base, evaluation=evaluation), references=())


@study
def architectures(data: Path | None) -> Study:
    """ResNet with batch and layer norm, and ViT: deep, constrained and distilled ensembles."""
    grid = [
        {**model, "construction": construction}
        for model, construction in product(({}, {"norm": "layer"}, _vit(data)), ("deep", "constrained", "distilled"))
    ]
    return replace(_grid(data, grid), references=())


@study
def ensemble_size(data: Path | None) -> Study:
    """Deep ensembles of 1 to 8 members: the curve that says what another ensemble is worth."""
    sizes = [{"construction": "deep", "members": members} for members in range(1, 9)]
    return replace(_grid(data, sizes), references=())


@study
def paper(data: Path | None) -> Study:
    """Every construction on ResNet and ViT, on each dataset that is given."""
    grid = [
        {**model, "construction": construction}
        for model, construction in product(({}, _vit(data)), ("deep", "swe", "constrained", "permuted", "distilled"))
    ]
    return replace(_grid(data, grid), references=())


def _grid(data: Path | None, grid: Sequence[Changes]) -> Study:
    base = quickstart(data) if data is None else cifar10_small(data)
    space = Space(tuple(dict.fromkeys(str(point["construction"]) for point in grid)), ())
    return replace(base, space=space, trials=0, grid=tuple(grid))


def _vit(data: Path | None) -> Changes:
    small = {"patch": 2, "dim": 32, "blocks": 2, "heads": 2}
    return {**VIT, **(small if data is None else {})}


def _dataset_of(data: Path) -> str:
    """The dataset that a file or folder holds, by its name; class folders of images where the name says nothing."""
    if not data.exists():
        raise UsageError(f"--data {data}: expected a file or a folder, found nothing there")
    if (data / "cifar-10-batches-py").is_dir():
        return "cifar10"
    return next((dataset for start, dataset in NAMES.items() if data.name.startswith(start)), "imagefolder")
