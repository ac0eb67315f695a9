"""A vision transformer for small images (Dosovitskiy 2021), pre-norm."""

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from basin.errors import UsageError
from basin.models import models
from basin.models.symmetry import Axis, Group, Part, Symmetry
from basin.spec import Bounds, Checked, Unit


@models.register("vit")
@dataclass(frozen=True, kw_only=True)
class ViT(Checked):
    """Patches, a class token and learned positions through transformer blocks with LayerNorm and GELU; no dropout.

    The default is DeiT-Tiny (Touvron 2021: 192 channels, 3 heads) at half its depth, with patches of 4 px, which
    leave 8 × 8 of a CIFAR image: 2.7M parameters.
    """

    version: ClassVar[int] = 1

    patch: Annotated[int, Bounds(1), Unit("pixels")] = 4
    """Height and width of a patch, in pixels; divides the image's."""
    dim: Annotated[int, Bounds(1), Unit("channels")] = 192
    """Channels of the residual stream."""
    blocks: Annotated[int, Bounds(1), Unit("blocks")] = 6
    """Transformer blocks."""
    heads: Annotated[int, Bounds(1), Unit("heads")] = 3
    """Attention heads of a block; divides `dim`."""
    mlp_ratio: Annotated[float, Bounds(0.125, 64)] = 4.0
    """Hidden units of a block's MLP, as a multiple of `dim`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.dim % self.heads:
            raise UsageError(f"heads={self.heads}: expected a divisor of dim={self.dim}")

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        """The network for images of `shape`; raises UsageError if `patch` does not divide them."""
        if shape[1] % self.patch or shape[2] % self.patch:
            raise UsageError(f"patch={self.patch}: expected a divisor of the images' {shape[1]} × {shape[2]} pixels")
        return ViTModule(self, shape, classes)


class ViTModule(nn.Module):
    """The transformer itself."""

    def __init__(self, spec: ViT, shape: tuple[int, int, int], classes: int) -> None:
        super().__init__()
        tokens = (shape[1] // spec.patch) * (shape[2] // spec.patch)
        self.spec = spec
        self.patches = nn.Conv2d(shape[0], spec.dim, spec.patch, stride=spec.patch)
        self.cls = nn.Parameter(torch.empty(1, 1, spec.dim))
        self.positions = nn.Parameter(torch.empty(1, 1 + tokens, spec.dim))
        self.blocks = nn.Sequential(*[Block(spec) for _ in range(spec.blocks)])
        self.norm = nn.LayerNorm(spec.dim)
        self.head = nn.Linear(spec.dim, classes)
        for tensor in (self.cls, self.positions):
            nn.init.trunc_normal_(tensor, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                # As Dosovitskiy's code. The truncated normal of 0.02 in others' is for wider layers: with SGD and 48
                # channels it stayed at chance for 300 steps, at every learning rate from 0.003 to 0.1.
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> Tensor:
        """Logits [batch, classes]."""
        patches = self.patches(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls.expand(len(images), -1, -1), patches], dim=1) + self.positions
        return torch.as_tensor(self.head(self.norm(self.blocks(tokens))[:, 0]))

    def symmetry(self) -> Symmetry:
        """One residual group; per block the units of its MLP, and its heads with what is in them."""
        stream: list[Axis] = [("patches.weight", 0), ("patches.bias", 0), ("cls", 2), ("positions", 2)]
        stream += [("norm.weight", 0), ("norm.bias", 0), ("head.weight", 1)]
        groups: Symmetry = {}
        for index in range(self.spec.blocks):
            block = f"blocks.{index}"
            stream += [(f"{block}.{name}", 0) for name in ("norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias")]
            stream += [(f"{block}.{layer}.weight", 1) for layer in ("q", "k", "v", "fc1")]
            stream += [(f"{block}.{name}", 0) for name in ("out.weight", "out.bias", "fc2.weight", "fc2.bias")]
            groups[f"{block}.heads"] = _head_group(block, self.spec)
            mlp: tuple[Axis, ...] = ((f"{block}.fc1.weight", 0), (f"{block}.fc1.bias", 0), (f"{block}.fc2.weight", 1))
            hidden = self.get_parameter(f"{block}.fc1.bias")
            groups[f"{block}.mlp"] = Group(len(hidden), (Part(mlp, ((f"{block}.fc2", "input"),)),))
        readings = tuple((f"blocks.{index}", "output") for index in range(self.spec.blocks))
        return {"stream": Group(self.spec.dim, (Part(tuple(stream), readings),))} | groups  # type: ignore[arg-type]


class Block(nn.Module):
    """Attention and MLP, each behind its LayerNorm and with a residual connection."""

    def __init__(self, spec: ViT) -> None:
        super().__init__()
        hidden = max(1, round(spec.mlp_ratio * spec.dim))
        self.heads = spec.heads
        self.norm1 = nn.LayerNorm(spec.dim)
        self.q = nn.Linear(spec.dim, spec.dim)
        self.k = nn.Linear(spec.dim, spec.dim)
        self.v = nn.Linear(spec.dim, spec.dim)
        self.out = nn.Linear(spec.dim, spec.dim)
        self.norm2 = nn.LayerNorm(spec.dim)
        self.fc1 = nn.Linear(spec.dim, hidden)
        self.fc2 = nn.Linear(hidden, spec.dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """The block's output [batch, tokens, dim]."""
        tokens = tokens + self._self_attention(self.norm1(tokens))
        return tokens + torch.as_tensor(self.fc2(F.gelu(self.fc1(self.norm2(tokens)))))

    # Written out, not PyTorch's fused attention: at most a few hundred tokens, and a backward pass whose sums have
    # one order on every device.
    def _self_attention(self, tokens: Tensor) -> Tensor:
        q, k, v = (layer(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2) for layer in (self.q, self.k, self.v))
        scores = q @ k.transpose(2, 3) * q.shape[-1] ** -0.5
        return torch.as_tensor(self.out((scores.softmax(dim=3) @ v).transpose(1, 2).flatten(2)))


def _head_group(block: str, spec: ViT) -> Group:
    """Heads as blocks: their order is shared by Q, K, V and O; the order in a head by Q with K, and by V with O."""
    rows = {name: ((f"{block}.{name}.weight", 0), (f"{block}.{name}.bias", 0)) for name in ("q", "k", "v")}
    compared = Part(rows["q"] + rows["k"], ((f"{block}.q", "output"), (f"{block}.k", "output")))
    carried = Part((*rows["v"], (f"{block}.out.weight", 1)), ((f"{block}.out", "input"),))
    return Group(spec.dim, (compared, carried), blocks=spec.heads)
