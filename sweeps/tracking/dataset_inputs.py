"""The dataset of a sweep as MLflow records it: an input of each run, with its hash and its numbers of images."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from basin.data import DataSplit, datasets
from basin.data.splits import split_sizes
from basin.spec import describe_fields
from basin.strict_json import dump_json
from sweeps.study.manifest import DATA

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

CONTEXT = "training"
"""What MLflow's page says that the dataset is for."""


class LoggedDataset(NamedTuple):
    """A dataset, with the fields of MLflow's `Dataset` in its order; the schema is empty."""

    name: str
    digest: str
    """Hash of the images and labels."""
    source_type: str
    source: str
    """JSON: where the images are, or the name that the code knows them by."""
    schema: str | None
    profile: str
    """JSON: numbers of classes, and of training, validation and test images of the study."""


def describe_dataset(manifest: Mapping[str, Any]) -> LoggedDataset | None:
    """Describe the dataset of a sweep from its manifest; None for one of an older version, without its images."""
    data, base = manifest.get(DATA, {}), manifest.get("base", {})
    if not data.get("images") or not base:
        return None
    split = DataSplit(**{field.name: base[field.name] for field in describe_fields(DataSplit) if field.name in base})
    official = [sum(count[part] for count in data["images"].values()) for part in ("train", "test")]
    train, val, test = split_sizes(datasets.entry(data["dataset"])[0], split, official[0], official[1])
    profile = {"classes": len(data["classes"]), "train_images": train, "val_images": val, "test_images": test}
    kind, source = (
        ("local", {"uri": data["source"]}) if data.get("source") else ("code", {"tags": {"dataset": data["dataset"]}})
    )
    return LoggedDataset(data["dataset"], data["hash"], kind, dump_json(source), None, dump_json(profile))


def dataset_input(dataset: LoggedDataset) -> "DatasetInput":
    """Make the input of a run."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return DatasetInput(Dataset(*dataset), [InputTag("mlflow.data.context", CONTEXT)])
