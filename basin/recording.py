"""Work on a GPU recorded once as a CUDA graph and replayed; on a CPU it is done anew each time."""

import gc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from basin.flat import Flat
from basin.network import Network, Precision
from basin.stack import Params

WARM = 3
"""Runs before a recording, in which libraries choose their kernels."""
Work = Callable[[], None]
"""Operations on tensors that stay where they are, and on what they leave behind."""


def recorded(work: Work, device: torch.device, changed: Sequence[Tensor] = ()) -> Work:
    """The work as one launch, nothing done yet: what it changes is put back. A CPU has nothing to record."""
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
    """A graph that is freed while another is recorded spoils the recording."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class Streams:
    """So many queues of a GPU, on which jobs that do not depend on each other run side by side."""

    def __init__(self, device: torch.device, width: int) -> None:
        self._device = device
        self._width = width
        self._streams = [torch.cuda.Stream(device) for _ in range(width)] if device.type == "cuda" else []

    def run(self, jobs: Iterable[Callable[[], Tensor]]) -> list[Tensor]:
        """The jobs' results, as many jobs at once as the streams are wide."""
        every = list(jobs)
        if not self._streams:
            return [job() for job in every]
        found = []
        for start in range(0, len(every), self._width):
            main, some = torch.cuda.current_stream(self._device), every[start : start + self._width]
            for stream, job in zip(self._streams, some, strict=False):
                stream.wait_stream(main)
                with torch.cuda.stream(stream):
                    found.append(job())
            for stream in self._streams[: len(some)]:
                main.wait_stream(stream)
        return found


class Packed:
    """Networks of which the convolutions' weights are packed anew at each step, all of them at once.

    They come in the arithmetic and the layout of the passes, which takes two kernels for each tensor otherwise, and as
    many for its gradient. The numbers are the same.
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
        own = {f"{name}.weight" for name, module in network.module.named_modules() if isinstance(module, nn.Conv2d)}
        places = [(name, shape, torch.arange(at, end)) for name, shape, at, end in flat.places if name in own]
        orders = [place.view(shape).permute(0, 2, 3, 1).flatten() for _, shape, place in places]
        self._order = torch.cat([*orders, torch.arange(0)]).to(weights.device)
        self._weights, self._grads = weights, grads
        dtype = torch.bfloat16 if (precision or network.precision) == "bfloat16" else weights.dtype
        self._values = weights.new_zeros(len(weights), len(self._order), dtype=dtype)
        self._slopes = torch.zeros_like(self._values)
        self._convolutions = [name for name, *_ in places]
        self._others = [name for name in flat.names if name not in own]
        self.networks = [params | self._leaves(row, places) for params, row in zip(networks, self._values, strict=True)]
        """Each of them as autograd leaves and buffers."""

    @torch.no_grad()
    def pack(self) -> None:
        """Bring the convolutions' weights up to date."""
        self._values.copy_(self._weights.index_select(1, self._order))

    def accumulate(self, k: int, loss: Tensor) -> None:
        """Add the gradient of network k's loss to its row, that of convolutions when they are unpacked."""
        params = self.networks[k]
        found = torch.autograd.grad(loss, [params[name] for name in (*self._convolutions, *self._others)])
        packed, others = found[: len(self._convolutions)], found[len(self._convolutions) :]
        if packed:
            torch.cat([slope.permute(0, 2, 3, 1).flatten() for slope in packed], out=self._slopes[k])
        grads = [params[name].grad for name in self._others]
        torch._foreach_add_(grads, list(others))  # type: ignore[arg-type]

    @torch.no_grad()
    def unpack(self) -> None:
        """Add the convolutions' gradients where the others are."""
        self._grads.index_add_(1, self._order, self._slopes.to(self._grads.dtype))

    @staticmethod
    def _leaves(row: Tensor, places: Sequence[tuple[str, torch.Size, Tensor]]) -> Params:
        parts = row.split([len(place) for *_, place in places])
        shaped = {
            name: part.view(shape[0], *shape[2:], shape[1]).permute(0, 3, 1, 2)
            for (name, shape, _), part in zip(places, parts, strict=True)
        }
        return {name: part.detach().requires_grad_() for name, part in shaped.items()}
