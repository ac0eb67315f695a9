"""Images: decoded once, split by a seed, served as batches that are functions of (seed, member, step)."""

from basin.data.batches import image_chunks, steps_per_epoch, training_batch
from basin.data.cache import load_arrays
from basin.data.dataset import Arrays, Dataset
from basin.data.ood import reshape_images
from basin.data.splits import Data, DataSplit, Images, split_data
from basin.registry import Registry

__all__ = [
    "Arrays",
    "Data",
    "DataSplit",
    "Dataset",
    "Images",
    "datasets",
    "image_chunks",
    "load_arrays",
    "reshape_images",
    "split_data",
    "steps_per_epoch",
    "training_batch",
]

datasets: Registry[Dataset] = Registry("dataset", __name__)
