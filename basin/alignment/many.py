"""Many networks aligned: all to the first, or each to the mean of the others."""

from dataclasses import dataclass, replace
from typing import Literal

import torch

from basin import stack
from basin.alignment.certificate import Certificate, certify
from basin.alignment.matching import Match, Matcher
from basin.alignment.permutation import Permutation, compose, identity, permute
from basin.data import Data
from basin.models.symmetry import Symmetry
from basin.network import Network
from basin.seeds import generator
from basin.stack import Stack

Reference = Literal["first", "mean"]


@dataclass(frozen=True)
class Alignment:
    """Networks of the same functions as before, nearer to each other, and the proof."""

    members: Stack
    certificates: tuple[Certificate, ...]
    """Of every member that may have moved, in order."""


def align(
    network: Network, members: Stack, *, symmetry: Symmetry, data: Data, matcher: Matcher, reference: Reference
) -> Alignment:
    """The members aligned; raises NotEquivalentError rather than return a member of another function."""
    matches = to_first(members, matcher) if reference == "first" else to_mean(members, symmetry, matcher)
    networks, certificates = [dict(row) for row in stack.rows(members)], []
    for member, match in matches.items():
        original = networks[member]
        networks[member] = permute(original, symmetry, match.permutation)
        certificate = certify(network, original, networks[member], match=match, data=data, member=member)
        certificates.append(certificate)
    return Alignment(stack.stack(networks), tuple(certificates))


def to_first(members: Stack, matcher: Matcher) -> dict[int, Match]:
    """Every other member to member 0."""
    first = _some(members, [0])
    return {
        member: matcher(first, stack.row(members, member), generator("matching", member))
        for member in range(1, stack.size(members))
    }


def to_mean(members: Stack, symmetry: Symmetry, matcher: Matcher) -> dict[int, Match]:
    """Each member in turn to the mean of the others as they stand, until none moves (Ainsworth 2023, Algorithm 3).

    `before` is from when a member first had its turn, all else from its last.
    """
    count, draws = stack.size(members), generator("matching", "mean")
    networks = [dict(row) for row in stack.rows(members)]
    moves: list[Permutation] = [identity(symmetry) for _ in networks]
    found: dict[int, Match] = {}
    moved = count > 1
    while moved:
        moved = False
        for member in torch.randperm(count, generator=draws).tolist():
            others = stack.stack([other for index, other in enumerate(networks) if index != member])
            match = matcher(others, networks[member], draws)
            if match.gained:
                moved = True
                networks[member] = permute(networks[member], symmetry, match.permutation)
                moves[member] = compose(moves[member], match.permutation)
            before = found[member].before if member in found else match.before
            found[member] = replace(match, permutation=moves[member], before=before)
    return dict(sorted((member, replace(match, permutation=moves[member])) for member, match in found.items()))


def _some(members: Stack, which: list[int]) -> Stack:
    return {name: tensor[which] for name, tensor in members.items()}
