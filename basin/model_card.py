"""The model card of an exported ensemble, in Markdown."""

from collections.abc import Iterator, Mapping

from basin.loaded import LoadedEnsemble
from basin.trial import REGISTRIES
from stats.intervals import Estimate

UNITS = {"accuracy": " %", "nll": " nats"}
"""Metrics of the card, and their units."""
LOADING = """```python
import torch
from safetensors.torch import load_file

model = torch.export.load("program.pt2").module()
model.load_state_dict(load_file("model.safetensors"))
with torch.no_grad():
    probabilities = model(images)  # images: uint8 [N, {channels}, {height}, {width}], grey levels 0 … 255
```"""


def write_card(ensemble: LoadedEnsemble, numbers: Mapping[str, Estimate], *, soup: bool = False) -> str:
    """The text of README.md; `numbers` are scores by name, such as `test_accuracy`."""
    return "\n".join(_card_lines(ensemble, numbers, soup)) + "\n"


def _card_lines(ensemble: LoadedEnsemble, numbers: Mapping[str, Estimate], soup: bool) -> Iterator[str]:
    flat, row, inputs = ensemble.trial.flat(), ensemble.row, ensemble.inputs
    count = len(ensemble.saved.ensemble.coords)
    channels, height, width = inputs.shape
    what = f"soup of {count}" if soup else f"ensemble of {count}"
    yield f"# {str(flat['construction']).capitalize()} {what} {flat['model']} networks on {flat['dataset']}"
    yield ""
    doc = REGISTRIES["construction"].entry(str(flat["construction"]))[0].__doc__ or ""
    yield f"Construction `{flat['construction']}`: {doc.partition(chr(10))[0]}"
    yield (
        "The soup is the one network of averaged weights."
        if soup
        else "It predicts the mean of its members' probabilities."
    )
    yield ""
    yield "## Data"
    yield ""
    sizes = ", ".join(f"{flat[f'{split}_size']} {word}" for split, word in _SPLITS.items() if flat[f"{split}_size"])
    yield f"- Dataset `{flat['dataset']}`, content {flat['data_hash']}; {sizes} images; augmentation {flat['augment']}."
    yield f"- Input: uint8 images [N, {channels}, {height}, {width}]; the model normalises them itself."
    yield f"- Output: probabilities of {inputs.classes} classes: {', '.join(inputs.class_names)}."
    yield ""
    yield "## Results"
    yield ""
    yield from _number_lines(numbers)
    if row.get("verdict_val") and row.get("verdict_test"):  # a trial that was run again has none
        yield f"- In one basin, this seed alone: {row['verdict_val']} on validation, {row['verdict_test']} on test."
    yield ""
    yield "## Load it"
    yield ""
    yield LOADING.format(channels=channels, height=height, width=width)
    yield ""
    yield "## Origin"
    yield ""
    yield f"- Trial {row['key']} of sweep {row.get('sweep')}, seed {row['seed']}; every setting is in `config.json`."
    yield f"- Commit {row.get('commit')}, Python {row.get('python_version')}, PyTorch {row.get('torch_version')}."


_SPLITS = {"train": "training", "val": "validation", "test": "test"}


def _number_lines(numbers: Mapping[str, Estimate]) -> Iterator[str]:
    for name, estimate in numbers.items():
        split, _, metric = name.partition("_")
        covers = f" (95 % interval over {estimate.images:,} images)" if estimate.half is not None else ""
        yield f"- {_SPLITS[split].capitalize()} {metric}: {estimate.format(3)}{UNITS[metric]}{covers}"
