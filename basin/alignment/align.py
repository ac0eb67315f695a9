"""Align several networks: all to the first, or each to the mean of the others."""

from dataclasses import dataclass, replace
from typing import Literal

import torch

from basin import stack
from basin.alignment.certificate import Certificate, certify_member
from basin.alignment.matching import Match, Matcher
from basin.alignment.permutation import Permutation, compose_permutations, identity_permutation, permute_network
from basin.data import Data
from basin.models.symmetry import Symmetry
from basin.seeds import make_generator
from basin.stack import Stack
from basin.training.network import Network

Reference = Literal["first", "mean"]


@dataclass(frozen=True)
class Alignment:
    """Networks that compute the same functions as before and are closer to each other, with certificates."""

    members: Stack
    certificates: tuple[Certificate, ...]
    """Of every member that may have moved, in order."""
    permutations: tuple[Permutation, ...]
    """Of every member: which of its units stands at each place."""


def align_members(
    network: Network, members: Stack, *, symmetry: Symmetry, data: Data, matcher: Matcher, reference: Reference
) -> Alignment:
    """Align the members; raises NotEquivalentError if a member would compute another function."""
    matches = to_first(members, matcher) if reference == "first" else to_mean(members, symmetry, matcher)
    networks, certificates = [dict(row) for row in stack.iterate_networks(members)], []
    permutations = [identity_permutation(symmetry) for _ in networks]
    for member, match in matches.items():
        original, permutations[member] = networks[member], match.permutation
        networks[member] = permute_network(original, symmetry, match.permutation)
        certificate = certify_member(network, original, networks[member], match=match, data=data, member=member)
        certificates.append(certificate)
    return Alignment(stack.stack_networks(networks), tuple(certificates), tuple(permutations))


def to_first(members: Stack, matcher: Matcher) -> dict[int, Match]:
    """Align every other member to member 0."""
    first = stack.slice_networks(members, slice(0, 1))
    return {
        member: matcher(first, stack.network_at(members, member), make_generator("matching", member))
        for member in range(1, stack.count_networks(members))
    }


def to_mean(members: Stack, symmetry: Symmetry, matcher: Matcher) -> dict[int, Match]:
    """Align each member in turn to the mean of the others, until none changes (Ainsworth 2023, Algorithm 3).

    In a match, `before` is from the member's first turn, everything else from its last.
    """
    count, draws = stack.count_networks(members), make_generator("matching", "mean")
    networks = [dict(row) for row in stack.iterate_networks(members)]
    moves: list[Permutation] = [identity_permutation(symmetry) for _ in networks]
    matches: dict[int, Match] = {}
    moved = count > 1
    while moved:
        moved = False
        for member in torch.randperm(count, generator=draws).tolist():
            others = stack.stack_networks([other for index, other in enumerate(networks) if index != member])
            match = matcher(others, networks[member], draws)
            if match.gained:
                moved = True
                networks[member] = permute_network(networks[member], symmetry, match.permutation)
                moves[member] = compose_permutations(moves[member], match.permutation)
            before = matches[member].before if member in matches else match.before
            matches[member] = replace(match, permutation=moves[member], before=before)
    return dict(sorted((member, replace(match, permutation=moves[member])) for member, match in matches.items()))
