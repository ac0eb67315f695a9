"""Inputs of the library: modules, state dicts, loaders and tensors are checked and copied."""

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from basin import data as images
from basin import stack
from basin.connectivity.batchnorm import POLICIES, chosen_policies
from basin.data import Data, Images
from basin.errors import UsageError, one_of
from basin.stack import Params, Stack
from basin.training.network import Network

Networks = Any
"""Modules of one architecture, or one module; checked at run time."""
States = Sequence[Mapping[str, Tensor]]
Inputs = Any
"""A DataLoader (or any iterable of batches (x, y)), a map-style dataset, a pair of tensors (x, y), or a `Data`."""
CHECKED = 8
"""Inputs on which a module is compared with its weights in the first module's class."""
CHUNK = 256
"""Inputs of a dataset that are read at once."""


@dataclass(frozen=True)
class Built:
    """A function that builds a network, as a model of `basin`."""

    builder: Callable[[], nn.Module]

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        """A network; if it is initialised, then from PyTorch's global random state."""
        return self.builder()


@dataclass(frozen=True)
class Given:
    """Networks and data of a call, on one device."""

    module: nn.Module
    """A copy of the first network, from which soups and aligned networks are made."""
    network: Network
    members: Stack
    data: Data
    """`val` and `test` are the test inputs; so is `train` where no training inputs were given."""
    trains: bool
    """True if training inputs were given."""

    def with_weights(self, params: Params) -> nn.Module:
        """A module of its own with these weights, on the device and in the types of the first network."""
        module = copy.deepcopy(self.module)
        module.load_state_dict(params)
        return module

    def policies(self, choice: str) -> tuple[str, ...]:
        """The BatchNorm policies of a choice; raises UsageError if one is unknown or cannot be applied."""
        for name in () if choice == "all" else choice.split("+"):
            if name not in POLICIES:
                raise one_of("BatchNorm policy", name, [*POLICIES, "all"])
        names = chosen_policies(choice, self.network)
        needing = [name for name in names if name != "interp"]
        if self.network.batchnorms and needing and not self.trains:
            raise UsageError(
                f"BatchNorm policy {needing[0]} re-estimates statistics on training inputs: give train=, "
                "or the policy 'interp', which averages them"
            )
        if "repair" in names:
            self._check_affine()
        return names

    def _check_affine(self) -> None:
        for name in self.network.batchnorms:
            if self.network.module.get_submodule(name).weight is None:
                raise UsageError(f"BatchNorm policy repair sets scale and shift, and {name} has none: leave it out")


def open_networks(
    networks: Networks, states: States | None, *, train: Inputs | None, test: Inputs, device: torch.device | str | None
) -> Given:
    """Check and copy networks and data.

    Raises UsageError for networks of different architectures or on different devices, outputs that are no logits
    [N, C], labels out of range, and data without inputs.
    """
    modules = _list_modules(networks, states)
    place = torch.device(device) if device is not None else _common_device(modules, states)
    copies = [_copy_module(module, place) for module in modules]
    with isolated_draws(place):
        tested = read_inputs(test, "test", _float_type(copies[0]), place)
        trained = tested if train is None else read_inputs(train, "train", _float_type(copies[0]), place)
    classes = check_logits(copies[0], tested[0])
    for name, (_, y) in {"test": tested, "train": trained}.items():
        check_labels(name, y, classes)
    data = make_data(trained, tested, classes)
    if isinstance(train, Data):  # so that statistics are estimated on the batches of the sweeps
        data = replace(data, hash=train.hash)
    network = Network(Built(partial(copy.deepcopy, copies[0])), data.shape, classes, place)
    params = [stack.of_module(module) for module in copies] if states is None else [dict(state) for state in states]
    members = _stack_members(network, params, place)
    _check_weights(members)
    if states is None:
        _check_functions(network, copies, members, tested[0][:CHECKED])
    return Given(copies[0], network, members, data, train is not None)


def read_inputs(source: Inputs, name: str, kind: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """All inputs [N, …], floating ones as `kind`, and labels int64 [N], read once and held on the device.

    Raises UsageError for batches that are not (x, y), for no inputs, and for labels that are not integers [N].
    """
    if isinstance(source, Data):
        chosen: Images = source.train if name == "train" else source.test
        parts = [source.normalise(x) for x, _ in images.image_chunks(chosen, CHUNK)]
        pairs = [(torch.cat(parts), chosen.labels)]
    else:
        pairs = [_as_pair(batch, name) for batch in _iterate_batches(source, name)]
    if not sum(len(x) for x, _ in pairs):
        raise UsageError(f"{name}= has no inputs: expected one batch (x, y) or more")
    try:
        x, y = (torch.cat([part.to(device) for part in parts]) for parts in zip(*pairs, strict=True))
    except RuntimeError as error:
        raise UsageError(f"{name}=: the batches cannot be joined: {_first_line(error)}") from None
    if x.dtype == torch.uint8:
        raise UsageError(f"{name}=: inputs are torch.uint8: give what the network sees, such as x.float() / 255")
    if x.is_floating_point() and not bool(x.isfinite().all()):
        raise UsageError(f"{name}=: input {int((~x.isfinite()).reshape(len(x), -1).any(1).nonzero()[0])} is not finite")
    if y.dim() != 1 or len(y) != len(x) or y.is_floating_point() or y.is_complex():
        raise UsageError(
            f"{name}=: labels of shape {list(y.shape)} and {y.dtype} for {len(x)} inputs: "
            f"expected the numbers of the classes, integers [{len(x)}]"
        )
    return x.to(kind) if x.is_floating_point() else x, y.long()


def make_data(train: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], classes: int) -> Data:
    """Inputs as the networks see them, in the form of `basin`'s datasets; validation is the test split."""
    x = train[0]
    shape = tuple(x.shape[1:]) if x.dim() == 4 else (1, max(1, x[0].numel()), 1)
    tested = _whole(*test)
    one = torch.ones(1, device=x.device)
    return Data(
        train=_whole(*train),
        val=tested,
        test=tested,
        classes=classes,
        shape=(shape[0], shape[1], shape[2]),
        mean=0 * one,
        std=one,
        augment="none",
        hash="own",
    )


def check_logits(module: nn.Module, x: Tensor) -> int:
    """Number of classes of a module's logits; raises UsageError for any other output."""
    some = x[:CHECKED]
    with isolated_draws(x.device), torch.no_grad():
        try:
            logits = module.eval()(some)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise UsageError(
                f"the network fails on inputs {list(some.shape)} of {some.dtype}: {_first_line(error)}"
            ) from error
    if not isinstance(logits, Tensor):
        raise UsageError(
            f"the network returns {type(logits).__name__}: expected logits [N, C]; "
            "wrap it in a module that returns them"
        )
    if logits.dim() != 2 or len(logits) != len(some) or logits.shape[1] < 2:
        raise UsageError(
            f"the network returns {list(logits.shape)} for {len(some)} inputs: expected logits [{len(some)}, C], "
            "two classes or more"
        )
    if bool(((logits >= 0) & (logits <= 1)).all()) and bool(((logits.sum(1) - 1).abs() < 1e-3).all()):
        raise UsageError("the network returns probabilities: expected logits; leave out its softmax")
    return int(logits.shape[1])


@contextmanager
def isolated_draws(device: torch.device) -> Iterator[None]:
    """Leave PyTorch's global random state as it was; draws within (dropout, shuffling) are the same at each call."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(0)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(0)
        yield


def _list_modules(networks: Networks, states: States | None) -> list[nn.Module]:
    if not isinstance(networks, nn.Module):
        networks = getattr(networks, "networks", networks)  # of `basin.train` or `basin.compare`
    modules = [networks] if isinstance(networks, nn.Module) else list(networks)
    for place, module in enumerate(modules):
        if not isinstance(module, nn.Module):
            raise UsageError(
                f"network {place} is {type(module).__name__}: expected torch.nn.Module, or one module and states="
            )
    if not modules or (states is not None and len(modules) != 1):
        raise UsageError(f"{len(modules)} networks: expected one or more modules, or exactly one and states=")
    return modules


def _common_device(modules: Sequence[nn.Module], states: States | None) -> torch.device:
    tables = [module.state_dict() for module in modules] if states is None else states
    tensors = chain.from_iterable(table.values() for table in tables)
    devices = list(dict.fromkeys(str(tensor.device) for tensor in tensors))
    if len(devices) > 1:
        raise UsageError(f"the networks are on {' and '.join(devices)}: move them, or give device=")
    return torch.device(devices[0] if devices else "cpu")


def _copy_module(module: nn.Module, device: torch.device) -> nn.Module:
    copied = copy.deepcopy(module).to(device).eval()
    low = any(tensor.dtype in (torch.float16, torch.bfloat16) for tensor in copied.parameters())
    return copied.float() if low else copied


def _float_type(module: nn.Module) -> torch.dtype:
    kinds = (tensor.dtype for tensor in module.parameters() if tensor.is_floating_point())
    return next(kinds, torch.float32)


def _iterate_batches(source: Inputs, name: str) -> Iterable[Any]:
    if isinstance(source, tuple | list) and len(source) == 2 and all(hasattr(part, "shape") for part in source):
        return [source]
    if isinstance(source, torch.utils.data.Dataset) and hasattr(source, "__len__"):
        return torch.utils.data.DataLoader(source, batch_size=CHUNK)
    if not isinstance(source, Iterable) or isinstance(source, Tensor | str | Mapping):
        raise UsageError(f"{name}= is {type(source).__name__}: expected a loader of batches (x, y), or a pair (x, y)")
    return source


def _as_pair(batch: Any, name: str) -> tuple[Tensor, Tensor]:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        size = f" of {len(batch)} values" if isinstance(batch, tuple | list) else ""
        raise UsageError(f"{name}= yields {type(batch).__name__}{size}: expected batches (x, y)")
    try:
        x, y = (torch.as_tensor(part) for part in batch)
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"{name}=: expected tensors x and y: {_first_line(error)}") from None
    return x, y


def check_labels(name: str, y: Tensor, classes: int) -> None:
    """Raise UsageError for labels that have no logit."""
    low, high = int(y.min()), int(y.max())
    if low < 0 or high >= classes:
        raise UsageError(f"{name}=: labels from {low} to {high}: expected 0 to {classes - 1}, one for each logit")


def _stack_members(network: Network, params: Sequence[Mapping[str, Tensor]], device: torch.device) -> Stack:
    expected = network.module.state_dict()
    for place, given in enumerate(params):
        if missing := [name for name in expected if name not in given]:
            extra = next((name for name in given if name not in expected), None)
            more = f" and has {extra}, which the module lacks" if extra else ""
            raise UsageError(f"network {place} lacks {missing[0]}{more}: expected networks of one architecture")
        for name in given:
            ours, theirs = expected.get(name), given[name]
            if ours is None or ours.shape != theirs.shape:
                raise UsageError(
                    f"network {place} has {_describe(theirs)} for {name}, network 0 {_describe(ours)}: "
                    "expected networks of one architecture"
                )
    tables = [
        {name: given[name].detach().to(device, like.dtype) for name, like in expected.items()} for given in params
    ]
    return stack.stack_networks(tables)


def _check_weights(members: Stack) -> None:
    for name, tensor in members.items():
        bad = ~tensor.isfinite().reshape(len(tensor), -1).all(dim=1)
        if bool(bad.any()):
            raise UsageError(f"network {int(bad.nonzero()[0])} has weights that are not finite: {name}")


def _check_functions(network: Network, modules: Sequence[nn.Module], members: Stack, x: Tensor) -> None:
    """Raise UsageError for a module that computes another function than its weights in the first one's class."""
    for place, (module, params) in enumerate(zip(modules, stack.iterate_networks(members), strict=True)):
        with isolated_draws(x.device), torch.no_grad():
            theirs, again = module(x), module(x)
            ours = network(params, x)
        if isinstance(theirs, Tensor) and isinstance(again, Tensor) and not torch.equal(theirs, again):
            raise UsageError(
                f"network {place} gives other outputs for the same inputs: it draws random numbers in evaluation mode, "
                "as dropout does that does not heed `module.eval()`"
            )
        if not isinstance(theirs, Tensor) or theirs.shape != ours.shape:
            raise UsageError(f"network {place} returns other outputs than network 0: expected one architecture")
        if float((theirs - ours).abs().max()) > 1e-3 * (1 + float(ours.abs().max())):
            raise UsageError(
                f"network {place} computes another function than network 0 with its weights: "
                "expected networks of one architecture, with the same settings"
            )


def _describe(tensor: Tensor | None) -> str:
    return "nothing" if tensor is None else f"shape {list(tensor.shape)}"


def _whole(x: Tensor, y: Tensor) -> Images:
    return Images(x, y, torch.arange(len(y), device=y.device))


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
