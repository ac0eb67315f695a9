"""Images: decoded once, split by a seed, served as batches that are functions of (seed, member, step)."""

from basin.data.batches import batch, chunks, steps_per_epoch
from basin.data.cache import load
from basin.data.dataset import Arrays, Dataset
from basin.data.elsewhere import reshaped
from basin.data.splits import Data, Images, Split, prepare
from basin.registry import Registry

__all__ = [
    "Arrays",
    "Data",
    "Dataset",
    "Images",
    "Split",
    "batch",
    "chunks",
    "datasets",
    "load",
    "prepare",
    "reshaped",
    "steps_per_epoch",
]

datasets: Registry[Dataset] = Registry("dataset", __name__)
