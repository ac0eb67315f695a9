"""Train ensembles of a network of one's own, and distil networks into one."""

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from basin import stack
from basin.alignment.certificate import Certificate
from basin.api.inputs import (
    Built,
    Inputs,
    Networks,
    States,
    check_labels,
    check_logits,
    isolated_draws,
    make_data,
    open_networks,
    read_inputs,
)
from basin.api.progress import Progress, choose_progress
from basin.constructions import constructions
from basin.data import Data
from basin.errors import UsageError, one_of
from basin.spec import describe_fields, replace_known
from basin.stages import Stages
from basin.task import Task
from basin.training.distillation import Distillation, Teachers
from basin.training.loop import State, Training
from basin.training.loop import train as run_steps
from basin.training.network import Network
from basin.training.objective import Meter

Builder = nn.Module | Callable[[], nn.Module]
"""A module, whose layers are initialised again for each network, or a function that builds a network."""


@dataclass(frozen=True, repr=False, eq=False)
class Trained:
    """A trained ensemble."""

    networks: tuple[nn.Module, ...]
    """The members, in evaluation mode."""
    construction: Any
    """The construction with all its fields."""
    training: Training
    """Budget and optimizer of each member."""
    passes: int
    """Batches through one network, forward and backward; a shared trunk counts once."""
    certificates: tuple[Certificate, ...]
    """Of each aligned member, for `permuted`."""

    def __repr__(self) -> str:
        cost = f"{self.passes} passes of {self.training.batch_size} inputs"
        return f"{len(self.networks)} networks, {cost}\n{self.construction!r}\n{self.training!r}"


def train(
    network: Builder,
    *,
    train: Inputs,
    construction: str = "constrained",
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: Progress | bool | None = None,
    **fields: Any,
) -> Trained:
    """Train an ensemble by any of the registered constructions, on a network and data of one's own.

    Parameters
    ----------
    network
        A module, inputs → logits [N, C], whose layers are initialised again for each member (it is not changed);
        or a function that builds one.
    train
        Training inputs and labels; see `basin.compare`. A `basin.dataset(…)` keeps its augmentation.
    construction
        `deep`, `swe`, `constrained`, `distilled`, `permuted`, or one that you registered.
    seed
        Seed of initialisation, data order and augmentation: equal seeds train equal networks on one machine.
    fields
        Fields of the construction, such as `members=4`, `t=0.1`, `beta=1.0`, and of `Training`: `epochs`,
        `batch_size`, `lr`, `optimizer`, `momentum`, `weight_decay`, `schedule`, `warmup`, `precision`.

    Returns
    -------
    Trained
        Its `networks` can be given to `basin.compare`.

    Raises
    ------
    UsageError
        For an unknown construction or field, a value out of range, invalid data, and a module that cannot be
        initialised again.
    DivergedError
        If the loss is not finite.
    """
    report = choose_progress(progress)
    recipe, made = _split_fields(construction, fields)
    with torch.random.fork_rng(devices=[]):
        opened, data = _open_training(network, train, device, recipe)
    with tempfile.TemporaryDirectory() as folder, isolated_draws(opened.device):
        task = Task(opened, data, Stages(opened, data, recipe, seed, Path(folder)))
        expected = made.spends(task.stages.steps).passes
        for grown in made.grow(task):
            ensemble = grown
            report("training", min(task.meter.passes, expected), expected)
    members = tuple(_as_module(opened, params) for params in stack.iterate_networks(ensemble.members()))
    return Trained(members, made, recipe, task.meter.passes, ensemble.certificates)


def distill(
    teachers: Networks,
    states: States | None = None,
    *,
    train: Inputs,
    student: Builder | None = None,
    temperature: float = 2.0,
    weight: float = 0.9,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: Progress | bool | None = None,
    **fields: Any,
) -> nn.Module:
    """Train one network from the mean probabilities of several (Hinton 2015).

    The loss is (1 − weight) · CE + weight · temperature² · KL(teachers ‖ student). To train a whole connected ensemble
    from a deep one, use `basin.train(construction="distilled")`.

    Parameters
    ----------
    teachers, states
        Networks of one architecture; see `basin.compare`.
    train
        Training inputs and labels.
    student
        A module, whose layers are initialised again, or a function that builds one; none: the teachers'
        architecture.
    temperature
        Temperature of the soft targets, above 0.
    weight
        Weight of the teachers against the labels, from 0 to 1.
    fields
        Fields of `Training`, as for `basin.train`.

    Returns
    -------
    nn.Module
        The student, in evaluation mode.

    Raises
    ------
    UsageError
        For invalid input or fields.
    DivergedError
        If the loss is not finite.
    """
    if not 0 <= weight <= 1 or not temperature > 0:
        raise UsageError(f"weight={weight}, temperature={temperature}: expected 0 to 1, and a number above 0")
    report = choose_progress(progress)
    recipe = replace_known(Training(), fields)
    given = open_networks(teachers, states, train=train, test=train, device=device)
    with torch.random.fork_rng(devices=[]):
        opened, data = _open_training(student or given.module, train, given.network.device, recipe)
    if data.classes != given.data.classes:
        raise UsageError(f"the student has {data.classes} logits, the teachers {given.data.classes}: expected as many")
    source = Teachers(given.network, given.members)
    loss = Distillation(source, temperature=temperature, weight=weight, shared=True)
    if weight and data.augment == "none":
        source.remember(data, recipe.batch_size)
    steps = recipe.steps(len(data.train))
    state = State(stack.stack_networks([opened.init(seed, "member", 0)]))
    with isolated_draws(opened.device):
        for reached in run_steps(
            opened, data, state, loss.objective(), training=recipe, seed=seed, members=[0], until=steps, meter=Meter()
        ):
            report("distilling", reached.step, steps)
    return _as_module(opened, stack.network_at(state.thetas, 0))


def _split_fields(construction: str, fields: dict[str, Any]) -> tuple[Training, Any]:
    """Training and construction, each with its fields; raises UsageError for a field of neither."""
    made = constructions.make(construction)
    budget, own = ({field.name for field in describe_fields(cls)} for cls in (Training, type(made)))
    for name in fields:
        if name not in budget | own:
            raise one_of(f"field of construction {construction}", name, sorted(budget | own))
    recipe = replace_known(Training(), {name: value for name, value in fields.items() if name in budget})
    return recipe, replace_known(made, {name: value for name, value in fields.items() if name in own})


def _open_training(
    builder: Builder, train: Inputs, device: torch.device | str | None, recipe: Training
) -> tuple[Network, Data]:
    build = _rebuilt(builder) if isinstance(builder, nn.Module) else builder
    module = build()
    if not isinstance(module, nn.Module):
        raise UsageError(f"network= builds {type(module).__name__}: expected torch.nn.Module")
    first = next(iter(builder.state_dict().values()), None) if isinstance(builder, nn.Module) else None
    place = torch.device(device) if device is not None else first.device if first is not None else torch.device("cpu")
    module = module.to(place)
    if isinstance(train, Data):
        data, x = train, train.normalise(train.train.images[:8])
        if train.mean.device != place:
            raise UsageError(f"the data are on {train.mean.device}, the network on {place}: give both one device=")
        classes = check_logits(module, x)
    else:
        pair = read_inputs(train, "train", torch.float32, place)
        classes = check_logits(module, pair[0])
        data = make_data(pair, pair, classes)
    check_labels("train", data.train.labels, classes)
    network = Network(Built(build), data.shape, classes, place, recipe.precision)
    return network, replace(data, classes=classes)


def _rebuilt(module: nn.Module) -> Callable[[], nn.Module]:
    """A function that copies a module to the CPU and initialises its layers again."""
    _check_layers(module)

    def build() -> nn.Module:
        fresh = copy.deepcopy(module).cpu().requires_grad_()
        for layer in fresh.modules():
            if reset := _resets(layer):
                reset()
        return fresh

    return build


def _check_layers(module: nn.Module) -> None:
    for name, layer in module.named_modules():
        if next(layer.parameters(recurse=False), None) is not None and not _resets(layer):
            raise UsageError(
                f"{name or type(layer).__name__} ({type(layer).__name__}) has parameters and no reset_parameters(): "
                "give a function that builds the network, such as network=lambda: Net()"
            )


def _resets(layer: nn.Module) -> Any:
    return getattr(layer, "reset_parameters", None) or getattr(layer, "_reset_parameters", None)


def _as_module(network: Network, params: stack.Params) -> nn.Module:
    module = network.fresh_module("own").to(network.device).eval()
    module.load_state_dict(params)
    return module
