"""The certificate passes what is equivalent and catches specs that are wrong."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from basin import stack
from basin.alignment.align import align_members
from basin.alignment.certificate import TOLERANCE, Certificate, NotEquivalentError, certify_member
from basin.alignment.matching import Match
from basin.alignment.weight_matching import WeightMatching
from basin.data import Data
from basin.models.symmetry import Group, Part, Symmetry
from basin.stack import Params
from tests.support.aligning import KINDS, distinct, network, shuffled

MATCH = Match({}, 1.0, (3.0, 5.0, 4.0))


def certified(kind: str, spec: Callable[[Symmetry], Symmetry], data: Data) -> Certificate:
    """The certificate of a random permutation under a spec made from the right one."""
    function, symmetry = network(kind)
    params = distinct(function)
    return certify_member(function, params, shuffled(params, spec(symmetry))[0], match=MATCH, data=data, member=2)


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_spec_is_certified(kind: str, data: Data) -> None:
    certificate = certified(kind, lambda symmetry: symmetry, data)
    assert certificate.error < 1e-12 * certificate.scale
    assert certificate.scale > 0.1
    assert (certificate.member, certificate.before, certificate.after) == (2, 1.0, 5.0)
    assert (certificate.restarts, certificate.spread) == (3, 2.0)


def heads(symmetry: Symmetry) -> Group:
    return symmetry["blocks.0.heads"]


def all_rows_at_once(symmetry: Symmetry) -> Symmetry:
    """One permutation of all H·d_h rows of Q, K, V and O."""
    axes = tuple(axis for part in heads(symmetry).parts for axis in part.axes)
    return symmetry | {"blocks.0.heads": Group(heads(symmetry).size, (Part(axes),))}


def all_rows_of_each_part(symmetry: Symmetry) -> Symmetry:
    """All rows of Q and K, and all of V and O, by a permutation each."""
    return symmetry | {"blocks.0.heads": replace(heads(symmetry), blocks=1)}


def head_orders_of_their_own(symmetry: Symmetry) -> Symmetry:
    """Heads permuted for Q and K otherwise than for V and O."""
    compared, carried = heads(symmetry).parts
    size, blocks = heads(symmetry).size, heads(symmetry).blocks
    return symmetry | {
        "blocks.0.heads": Group(size, (compared,), blocks),
        "blocks.0.values": Group(size, (carried,), blocks),
    }


def no_class_token(symmetry: Symmetry) -> Symmetry:
    (part,) = symmetry["stream"].parts
    part = replace(part, axes=tuple(axis for axis in part.axes if axis[0] != "cls"))
    return symmetry | {"stream": replace(symmetry["stream"], parts=(part,))}


WRONG = [all_rows_at_once, all_rows_of_each_part, head_orders_of_their_own, no_class_token]


@pytest.mark.parametrize("spec", WRONG)
def test_a_wrong_attention_spec_is_caught(spec: Callable[[Symmetry], Symmetry], data: Data) -> None:
    with pytest.raises(
        NotEquivalentError, match=r"^member 2: expected the same function .* symmetry\(\) lists a wrong"
    ):
        certified("vit", spec, data)


def test_one_order_in_a_head_is_equivalent_though_two_are_possible(data: Data) -> None:
    def shared(symmetry: Symmetry) -> Symmetry:
        axes = tuple(axis for part in heads(symmetry).parts for axis in part.axes)
        return symmetry | {"blocks.0.heads": Group(heads(symmetry).size, (Part(axes),), heads(symmetry).blocks)}

    assert certified("vit", shared, data).error < 1e-12


def test_the_order_of_pixels_is_no_symmetry(data: Data) -> None:
    with pytest.raises(NotEquivalentError, match="member 2"):
        certified("mlp", lambda symmetry: symmetry | {"pixels": Group(64, (Part((("1.0.weight", 1),)),))}, data)


@pytest.mark.parametrize("spec", WRONG[:3])
def test_a_network_that_is_not_equivalent_is_never_returned(spec: Callable[[Symmetry], Symmetry], data: Data) -> None:
    function, symmetry = network("vit")
    wrong = spec(symmetry)
    members = stack.stack_networks([distinct(function, seed) for seed in range(2)])
    with pytest.raises(NotEquivalentError, match="member 1"):
        align_members(
            function, members, symmetry=wrong, data=data, matcher=WeightMatching(function, wrong), reference="first"
        )


def changed(params: Params, value: float) -> Params:
    return params | {"4.bias": params["4.bias"] + value}


def test_the_tolerance_is_relative_to_the_logits(data: Data) -> None:
    function, _ = network("mlp")
    params = distinct(function)
    scale = certify_member(function, params, params, match=MATCH, data=data, member=0).scale
    near = certify_member(function, params, changed(params, 0.9 * TOLERANCE * scale), match=MATCH, data=data, member=0)
    assert near.error == pytest.approx(0.9 * TOLERANCE * scale, rel=1e-3)
    for wrong in (1.1 * TOLERANCE * scale, float("nan")):
        with pytest.raises(NotEquivalentError, match="member 0"):
            certify_member(function, params, changed(params, wrong), match=MATCH, data=data, member=0)


def test_float32_weights_are_compared_in_float64(data: Data) -> None:
    function, symmetry = network("resnet20")
    params = {name: t.float() if t.is_floating_point() else t for name, t in distinct(function).items()}
    moved, _ = shuffled(params, symmetry)
    assert certify_member(function, params, moved, match=MATCH, data=data, member=0).error > 0
    assert all(tensor.dtype in (torch.float32, torch.int64) for tensor in moved.values())
