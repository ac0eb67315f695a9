"""CUDA-graph capture and replay; on a CPU the work simply runs each time."""

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from basin.stack import Params
from basin.training.flat_parameters import Flat
from basin.training.network import Network, Precision

WARM = 3
"""Warm-up runs before a capture, in which libraries choose their kernels."""
Work = Callable[[], None]
"""Operations on tensors at fixed addresses."""


def capture_graph(work: Work, device: torch.device, changed: Sequence[Tensor] = ()) -> Work:
    """Capture `work` as a CUDA graph and return its replay.

    `changed` tensors are restored after the warm-up. On a CPU, return `work` itself.
    """
    if device.type != "cuda":
        return work
    kept = [tensor.clone() for tensor in changed]
    main, aside = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    aside.wait_stream(main)
    with torch.cuda.stream(aside):
        for _ in range(WARM):
            work()
    main.wait_stream(aside)
    for tensor, value in zip(changed, kept, strict=True):
        tensor.copy_(value)
    graph = torch.cuda.CUDAGraph()
    with _no_garbage(), torch.cuda.graph(graph):
        work()
    return graph.replay


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Pause garbage collection: freeing one CUDA graph while capturing another invalidates the capture."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Streams:
    """CUDA streams, on which independent jobs run concurrently."""

    def __init__(self, device: torch.device, width: int) -> None:
        self._device = device
        self._width = width
        self._streams = [torch.cuda.Stream(device) for _ in range(width)] if device.type == "cuda" else []

    def run(self, jobs: Iterable[Callable[[], Tensor]]) -> list[Tensor]:
        """Run the jobs, `width` at a time, and return their results in order."""
        every = list(jobs)
        if not self._streams:
            return [job() for job in every]
        results = []
        for start in range(0, len(every), self._width):
            main, some = torch.cuda.current_stream(self._device), every[start : start + self._width]
            for stream, job in zip(self._streams, some, strict=False):
                stream.wait_stream(main)
                with torch.cuda.stream(stream):
                    results.append(job())
            for stream in self._streams[: len(some)]:
                main.wait_stream(stream)
        return results


class Packed:
    """Networks whose convolution weights are converted together at each step.

    The packed weights have the precision and memory layout of the passes. Converting tensor by tensor would launch two
    kernels for each tensor, and two for its gradient. The numbers are the same.
    """

    def __init__(
        self,
        network: Network,
        flat: Flat,
        networks: list[Params],
        weights: Tensor,
        grads: Tensor,
        precision: Precision | None = None,
    ) -> None:
        modules = network.module.named_modules() if _may_be_channels_last(weights.device) else ()
        convolutions = {f"{name}.weight" for name, module in modules if isinstance(module, nn.Conv2d)}
        places = [(name, shape, torch.arange(at, end)) for name, shape, at, end in flat.places if name in convolutions]
        orders = [place.view(shape).permute(0, 2, 3, 1).flatten() for _, shape, place in places]
        self._order = torch.cat([*orders, torch.arange(0)]).to(weights.device)
        self._weights, self._grads = weights, grads
        dtype = torch.bfloat16 if (precision or network.precision) == "bfloat16" else weights.dtype
        self._values = weights.new_zeros(len(weights), len(self._order), dtype=dtype)
        self._slopes = torch.zeros_like(self._values)
        self._convolutions = [name for name, *_ in places]
        self._others = [name for name in flat.names if name not in convolutions]
        self.networks = [
            params | self._leaf_views(row, places) for params, row in zip(networks, self._values, strict=True)
        ]
        """Each network as autograd leaves and buffers."""

    @torch.no_grad()
    def pack(self) -> None:
        """Update the packed weights of the convolutions."""
        self._values.copy_(self._weights.index_select(1, self._order))

    def accumulate(self, k: int, loss: Tensor) -> None:
        """Add the gradient of network k's loss to its row; that of convolutions is added by `unpack`."""
        params = self.networks[k]
        gradients = torch.autograd.grad(loss, [params[name] for name in (*self._convolutions, *self._others)])
        packed, others = gradients[: len(self._convolutions)], gradients[len(self._convolutions) :]
        if packed:
            torch.cat([slope.permute(0, 2, 3, 1).flatten() for slope in packed], out=self._slopes[k])
        grads = [params[name].grad for name in self._others]
        torch._foreach_add_(grads, list(others))  # type: ignore[arg-type]

    @torch.no_grad()
    def unpack(self) -> None:
        """Add the convolutions' gradients to the flat gradients."""
        self._grads.index_add_(1, self._order, self._slopes.to(self._grads.dtype))

    @staticmethod
    def _leaf_views(row: Tensor, places: Sequence[tuple[str, torch.Size, Tensor]]) -> Params:
        parts = row.split([len(place) for *_, place in places])
        shaped = {
            name: part.view(shape[0], *shape[2:], shape[1]).permute(0, 3, 1, 2)
            for (name, shape, _), part in zip(places, parts, strict=True)
        }
        return {name: part.detach().requires_grad_() for name, part in shaped.items()}


def _may_be_channels_last(device: torch.device) -> bool:
    """Tell whether channels-last convolutions are safe: oneDNN's AVX2 kernels write beyond small gradients.

    Seen with torch 2.15 on a processor without AVX-512, 4 channels: the heap is corrupted. With
    ONEDNN_MAX_CPU_ISA=AVX the same work passes.
    """
    return device.type != "cpu" or torch.backends.cpu.get_cpu_capability() != "AVX2"
