"""Base trials that the studies start from."""

from dataclasses import replace
from pathlib import Path

from basin.constructions import constructions
from basin.data import DataSplit, datasets
from basin.errors import UsageError
from basin.measure import Evaluation
from basin.models import models
from basin.spec import describe_fields
from basin.training.loop import Training
from basin.trial import Trial

NAMES = {
    "cifar-10-": "cifar10",
    "cifar-100-": "cifar100",
    "tiny-imagenet": "tiny-imagenet",
    "fashion-mnist": "fashion-mnist",
}
"""Prefix of the official file and folder names → dataset."""


def digits_base() -> Trial:
    """Make the trial of the quickstart: a deep ensemble on 200 embedded digits."""
    return Trial(
        dataset=datasets.make("digits"),
        model=models.make("resnet8", width=0.5),
        construction=constructions.make("deep"),
        split=DataSplit(train_size=200),
        training=Training(epochs=40, batch_size=50, lr=0.1),
        evaluation=Evaluation(policies="reset", alphas=7, progress_every=20),
    )


def small_images_base(data: Path | None) -> Trial:
    """Make a trial on a subset of CIFAR-10 or `data`, at 32 px where the dataset has a resolution."""
    name = "cifar10" if data is None else dataset_of(data)
    sizes = {"resolution"} & {field.name for field in describe_fields(datasets.entry(name)[0])}
    return Trial(
        dataset=datasets.make(name, **dict.fromkeys(sizes, 32)),
        model=models.make("resnet20"),
        construction=constructions.make("deep", members=3),
        split=DataSplit(train_size=3000, val_size=1000, test_size=1000),
        training=Training(epochs=10, batch_size=100, lr=0.2),
        evaluation=Evaluation(
            alphas=5,
            hull_points=4,
            policies="reset",
            bn_images=256,
            path_images=256,
            path_precision="bfloat16",
            progress_every=5,
        ),
    )


def full_base(base: Trial, data: Path) -> Trial:
    """Replace the recipe by that of the literature (He 2016): ResNet20, all training images, 200 epochs."""
    return full_recipe(replace(base, dataset=datasets.make(dataset_of(data))))


def full_recipe(base: Trial) -> Trial:
    """Replace everything but dataset and BatchNorm policies by the recipe of the literature."""
    return replace(
        base,
        model=models.make("resnet20"),
        construction=type(base.construction)(),
        split=DataSplit(val_size=None if datasets.name(base.dataset) == "imagefolder" else 5000),
        training=Training(epochs=200, batch_size=128, lr=0.1),
        evaluation=Evaluation(policies=base.evaluation.policies, progress_every=20),
    )


def dataset_of(data: Path) -> str:
    """Dataset of a file or folder, by its name; class folders of images for other names."""
    if not data.exists():
        raise UsageError(f"--data {data}: expected a file or a folder, found nothing")
    if (data / "cifar-10-batches-py").is_dir():
        return "cifar10"
    return next((dataset for start, dataset in NAMES.items() if data.name.startswith(start)), "imagefolder")
