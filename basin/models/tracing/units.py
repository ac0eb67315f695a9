"""Units of a traced network: which positions of which axes must be permuted together.

Every position along every axis of a tensor has an id. Operations unify the ids of positions that must move together. An
id that stands at several positions of an axis is one unit with several places; an axis whose positions all have one id
cannot be permuted.
"""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]


class Units:
    """Disjoint sets of ids, and blocks: ids whose members must stay together."""

    def __init__(self) -> None:
        self._up: Ids = np.empty(1024, dtype=np.int64)
        self._count = 0
        self._known_blocks: dict[tuple[int, ...], int] = {}
        self.blocks: list[tuple[int, Ids]] = []
        """An id for each block, and the ids in it."""

    def make(self, *shape: int) -> Ids:
        """New ids, each a unit of its own."""
        count = int(np.prod(shape, dtype=np.int64))
        while self._count + count > len(self._up):
            self._up = np.concatenate([self._up, np.empty_like(self._up)])
        ids = np.arange(self._count, self._count + count)
        self._up[ids] = ids
        self._count += count
        return ids.reshape(shape)

    def find(self, ids: Ids) -> Ids:
        """The representative of each id: the smallest of its set."""
        while True:
            up = np.asarray(self._up[ids])
            if np.array_equal(up, ids):
                return ids
            self._up[ids] = self._up[up]
            ids = up

    def unify(self, first: Ids, second: Ids) -> None:
        """Make the ids at equal positions of two arrays of one shape the same unit."""
        one, other = self.find(first).ravel(), self.find(second).ravel()
        different = one != other
        for a, b in zip(one[different].tolist(), other[different].tolist(), strict=True):
            self.join(a, b)

    def join(self, first: int, second: int) -> bool:
        """Make two ids one unit; False if they are."""
        low, high = sorted((self._root(first), self._root(second)))
        self._up[high] = low
        return low != high

    def _root(self, index: int) -> int:
        while self._up[index] != index:
            self._up[index] = self._up[self._up[index]]
            index = int(self._up[index])
        return index

    def make_blocks(self, members: Ids) -> Ids:
        """An id for each row of `members`: the block of these units. Equal rows are one block; one unit is its own."""
        return np.array([self._block_of(row) for row in members], dtype=np.int64)

    def _block_of(self, row: Ids) -> int:
        members = np.unique(self.find(row))
        if len(members) == 1:
            return int(members[0])
        key = tuple(members.tolist())
        if key not in self._known_blocks:
            self._known_blocks[key] = int(self.make(1)[0])
            self.blocks.append((self._known_blocks[key], members))
        return self._known_blocks[key]

    def settle(self) -> None:
        """Join blocks that have become equal, and blocks with the only unit in them, until nothing changes."""
        changed = True
        while changed:
            changed = False
            by_members: dict[tuple[int, ...], list[int]] = {}
            for block, members in self.blocks:
                found = tuple(np.unique(self.find(members)).tolist())
                equal = by_members.setdefault(found, [found[0]] if len(found) == 1 else [])
                equal.append(block)
            for equal in by_members.values():
                for one, other in pairwise(equal):
                    changed |= self.join(one, other)
