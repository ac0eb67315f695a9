"""The model card of an exported ensemble, in Markdown."""

from collections.abc import Iterator, Mapping

from basin.loaded import LoadedEnsemble
from basin.trial import REGISTRIES
from stats.intervals import Estimate

UNITS = {"accuracy": " %", "nll": " nats"}
"""Metrics of the card, and their units."""
_SPLITS = {"train": "training", "val": "validation", "test": "test"}


def write_card(ensemble: LoadedEnsemble, numbers: Mapping[str, Estimate], *, soup: bool = False) -> str:
    """The text of README.md; `numbers` are scores by name, such as `test_accuracy`."""
    flat, row, inputs = ensemble.trial.flat(), ensemble.row, ensemble.inputs
    construction, count = str(flat["construction"]), len(ensemble.saved.ensemble.coords)
    channels, height, width = inputs.shape
    what = f"soup of {count}" if soup else f"ensemble of {count}"
    use = "It predicts the mean of its members' probabilities."
    if soup:
        use = "The soup is the one network of averaged weights."
    doc = REGISTRIES["construction"].entry(construction)[0].__doc__ or ""
    sizes = ", ".join(f"{flat[f'{split}_size']} {word}" for split, word in _SPLITS.items() if flat[f"{split}_size"])
    results = list(_number_lines(numbers))
    if row.get("verdict_val") and row.get("verdict_test"):  # a trial that was run again has none
        verdicts = f"{row['verdict_val']} on validation, {row['verdict_test']} on test"
        results.append(f"- In one basin, this seed alone: {verdicts}.")
    return f"""\
# {construction.capitalize()} {what} {flat["model"]} networks on {flat["dataset"]}

Construction `{construction}`: {doc.partition(chr(10))[0]}
{use}

## Data

- Dataset `{flat["dataset"]}`, content {flat["data_hash"]}; {sizes} images; augmentation {flat["augment"]}.
- Input: uint8 images [N, {channels}, {height}, {width}]; the model normalises them itself.
- Output: probabilities of {inputs.classes} classes: {", ".join(inputs.class_names)}.

## Results

{chr(10).join(results)}

## Load it

```python
import torch
from safetensors.torch import load_file

model = torch.export.load("program.pt2").module()
model.load_state_dict(load_file("model.safetensors"))
with torch.no_grad():
    probabilities = model(images)  # images: uint8 [N, {channels}, {height}, {width}], grey levels 0 … 255
```

## Origin

- Trial {row["key"]} of sweep {row.get("sweep")}, seed {row["seed"]}; every setting is in `config.json`.
- Commit {row.get("commit")}, Python {row.get("python_version")}, PyTorch {row.get("torch_version")}.
"""


def _number_lines(numbers: Mapping[str, Estimate]) -> Iterator[str]:
    for name, estimate in numbers.items():
        split, _, metric = name.partition("_")
        covers = f" (95 % interval over {estimate.images:,} images)" if estimate.half is not None else ""
        yield f"- {_SPLITS[split].capitalize()} {metric}: {estimate.format(3)}{UNITS[metric]}{covers}"
