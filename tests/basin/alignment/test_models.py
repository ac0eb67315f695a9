"""The transformer against PyTorch's, and torchvision's classifiers by name."""

from pathlib import Path

import pytest
import torch
from torch import nn

from basin.constructions import constructions
from basin.errors import UsageError
from basin.models import models
from basin.models.torchvision import TorchVision
from basin.models.vit import Block, ViT
from basin.registry import Registry
from basin.training.network import Network
from basin.trial import overlay, run
from tests.support.aligned_trials import place, trial
from tests.support.aligning import SHAPE, TINY_VIT

CPU = torch.device("cpu")


def test_a_block_is_pytorch_s() -> None:
    torch.manual_seed(0)
    block = Block(ViT(dim=12, heads=3, mlp_ratio=2)).double()
    for tensor in block.parameters():
        nn.init.normal_(tensor, std=0.5)
    oracle = nn.TransformerEncoderLayer(
        12, 3, 24, dropout=0, activation="gelu", batch_first=True, norm_first=True, dtype=torch.float64
    )
    attention = oracle.self_attn
    pairs = {
        attention.in_proj_weight: torch.cat([block.q.weight, block.k.weight, block.v.weight]),
        attention.in_proj_bias: torch.cat([block.q.bias, block.k.bias, block.v.bias]),
    }
    layers = (attention.out_proj, oracle.linear1, oracle.linear2, oracle.norm1, oracle.norm2)
    for theirs, ours in zip(layers, (block.out, block.fc1, block.fc2, block.norm1, block.norm2), strict=True):
        pairs |= {theirs.weight: ours.weight, theirs.bias: ours.bias}
    with torch.no_grad():
        for theirs_, ours_ in pairs.items():
            theirs_.copy_(ours_)
        tokens = torch.randn(2, 5, 12, dtype=torch.float64)
        torch.testing.assert_close(block(tokens), oracle(tokens), rtol=1e-10, atol=1e-10)


def test_the_default_transformer_has_its_size() -> None:
    function = Network(ViT(), (3, 32, 32), 10, CPU)
    params = function.init(0)
    block = 4 * (192 * 192 + 192) + 2 * 192 * 768 + 768 + 192 + 4 * 192
    outside = 48 * 192 + 192 + 192 + 65 * 192 + 2 * 192 + 192 * 10 + 10
    assert sum(tensor.numel() for tensor in params.values()) == 6 * block + outside
    assert function.batchnorms == ()


def test_tokens_know_their_place() -> None:
    function = Network(models.make("vit", **TINY_VIT), SHAPE, 10, CPU)
    params, images = function.init(0), torch.randn(2, *SHAPE)
    assert not torch.allclose(function(params, images), function(params, images.flip(2)), atol=1e-3)


def test_the_patch_divides_the_image() -> None:
    with pytest.raises(UsageError, match=r"^patch=3: expected a divisor of the images' 8 × 8 pixels$"):
        ViT(patch=3).build(SHAPE, 10)


def test_the_heads_divide_the_width() -> None:
    with pytest.raises(UsageError, match=r"^heads=5: expected a divisor of dim=192$"):
        ViT(heads=5)


def test_a_transformer_is_trained_like_any_network(tmp_path: Path, cache: Path) -> None:
    changes = {"construction": "permuted", "members": 2, "epochs": 8, "lr": 0.02, "model": "vit"}
    outcome = run(trial(**changes, **TINY_VIT), place(tmp_path, cache))
    assert outcome.measured.scores["test_accuracy"] > 25


# torchvision


def test_a_classifier_of_torchvision_knows_its_name() -> None:
    model = models.make("torchvision:resnet18")
    assert models.name(model) == "torchvision:resnet18"
    assert TorchVision in models.classes()
    assert not any("torchvision" in name for name in models)


def test_its_name_is_part_of_the_key() -> None:
    first, second, again = (trial(model=f"torchvision:{name}") for name in ("resnet18", "resnet34", "resnet18"))
    assert first.key == again.key != second.key
    assert first.recipe_key != second.recipe_key
    assert first.flat()["model"] == "torchvision:resnet18"
    assert overlay(first, {"model": "mlp"}).model == models.make("mlp")


def test_unknown_names_are_refused() -> None:
    with pytest.raises(UsageError, match=r"model 'resnet19': did you mean 'resnet18'. expected one of alexnet"):
        models.make("torchvision:resnet19")
    with pytest.raises(UsageError, match=r"model 'resnet18': did you mean 'resnet8'. expected .*torchvision:NAME"):
        models.make("resnet18")


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5"])
def test_small_images_of_one_or_three_channels(name: str, channels: int) -> None:
    function = Network(models.make(f"torchvision:{name}"), (channels, 32, 32), 7, CPU)
    params, images = function.init(0), torch.randn(3, channels, 32, 32)
    assert function(params, images, train=True).shape == (3, 7)
    assert not any(name.startswith("module") for name in params)


def test_one_channel_is_shown_three_times() -> None:
    grey, colour = (Network(TorchVision(architecture="resnet18"), (c, 32, 32), 7, CPU) for c in (1, 3))
    params, images = grey.init(0), torch.randn(2, 1, 32, 32)
    torch.testing.assert_close(grey(params, images), colour(params, images.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)


def test_other_numbers_of_channels_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^torchvision:resnet18: expected images of 1 or 3 channels, got 4$"):
        TorchVision(architecture="resnet18").build((4, 32, 32), 7)


def test_images_that_are_too_small_are_refused() -> None:
    with pytest.raises(UsageError, match=r"^torchvision:alexnet cannot take images of 3 × 32 × 32: .*too small"):
        TorchVision(architecture="alexnet").build((3, 32, 32), 7)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "squeezenet1_1", "efficientnet_b0"])
def test_training_passes_draw_nothing(name: str) -> None:
    function = Network(models.make(f"torchvision:{name}"), (3, 32, 32), 7, CPU)
    images, before = torch.randn(4, 3, 32, 32), torch.get_rng_state()
    first, second = (function(function.init(0), images, train=True) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("construction", [name for name in constructions if name != "permuted"])
def test_a_classifier_of_torchvision_is_trained_like_any_network(
    construction: str, tmp_path: Path, cache: Path
) -> None:
    changes = {"construction": construction, "members": 2, "train_size": 20, "batch_size": 5, "epochs": 1}
    changes |= {"model": "torchvision:shufflenet_v2_x0_5", "val_size": 20, "test_size": 20, "hull_points": 0}
    outcome = run(trial(**changes), place(tmp_path, cache))
    assert "test_q_bar_reset" in outcome.measured.scores


# The registry's prefixes


def registry() -> Registry[object]:
    things: Registry[object] = Registry("thing", "basin.models")
    things.register_prefix("tv:", "architecture")(TorchVision)
    return things


def test_a_prefix_is_registered_once() -> None:
    with pytest.raises(AssertionError, match="two entries for thing 'tv:'"):
        registry().register_prefix("tv:", "architecture")(TorchVision)


def test_names_with_a_prefix() -> None:
    things = registry()
    assert list(things) == []
    assert things.classes() == [TorchVision]
    assert things.entry("tv:resnet18") == (TorchVision, {"architecture": "resnet18"})
    assert things.name(things.make("tv:resnet18")) == "tv:resnet18"
    with pytest.raises(UsageError, match=r"^unknown thing 'resnet18': expected one of tv:NAME$"):
        things.entry("resnet18")
    with pytest.raises(UsageError, match=r"^unknown thing 'ViT': expected one of tv:NAME$"):
        things.name(ViT())
