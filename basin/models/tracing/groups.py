"""Groups of units that can be exchanged, found in the record of a run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain

import numpy as np

from basin.models.symmetry import Axis, Group, Part, Places, Reading, Symmetry
from basin.models.tracing.labels import Label
from basin.models.tracing.recorder import Record
from basin.models.tracing.units import Ids

Orbit = tuple[int, ...]
"""Units that are in the same places of the same tensors."""


@dataclass(frozen=True)
class GroupFinder:
    """Finds groups of one or two levels: units in any order, or blocks in any order with units in them."""

    record: Record

    def find_groups(self) -> Symmetry:
        """All groups. Units that can be exchanged in other ways only stay where they are."""
        self.record.units.settle()
        groups: Symmetry = {}
        for orbit in self._orbits:
            if len(orbit) > 1 and not self._outer[orbit]:
                parts = self._make_parts(self._ordered_orbits(orbit))
                if parts:
                    name = _free_name(parts[0].axes[0][0], groups)
                    groups[name] = _make_group(parts, len(orbit) if self._inner[orbit] else 1)
        return groups

    def _ordered_orbits(self, root: Orbit) -> list[Sequence[int]]:
        """`root`, and in its order the units of its blocks; nothing if there are more than two levels."""
        inner = [orbit for orbit in self._orbits if orbit in self._inner[root]]
        by_block = [self._members_by_block(root, orbit) for orbit in inner]
        if not all(by_block):
            return []
        first = by_block[0] if by_block else {}
        order = sorted(root, key=lambda block: self._rank(first[block][0] if first else block))
        return [order, *(list(chain.from_iterable(members[block] for block in order)) for members in by_block)]

    def _make_parts(self, orbits: Sequence[Sequence[int]]) -> list[Part]:
        parts = []
        for orbit in orbits:
            places = self._places_by_axis(orbit)
            if places:
                axes, special = tuple(places), {axis: where for axis, where in places.items() if where}
                parts.append(Part(axes, self._readings_of(axes, orbit), special, len(orbit)))
        return parts

    def _members_by_block(self, root: Orbit, orbit: Orbit) -> dict[int, list[int]]:
        """The units in each block of `root`; empty if they are not in exactly one each, or are blocks themselves."""
        if self._inner[orbit] or self._outer[orbit] != {root}:
            return {}
        found: dict[int, set[int]] = {block: set() for block in root}
        own = set(orbit)
        for block, members in self._blocks:
            if block in found:
                found[block] |= own.intersection(members)
        if sum(len(members) for members in found.values()) != len(orbit):
            return {}
        return {block: sorted(members, key=self._rank) for block, members in found.items()}

    def _rank(self, unit: int) -> int:
        return self._ranks.get(unit, len(self._ranks) + unit)

    @cached_property
    def _blocks(self) -> list[tuple[int, tuple[int, ...]]]:
        find = self.record.units.find
        return [
            (int(find(np.array(block))), tuple(np.unique(find(members)).tolist()))
            for block, members in self.record.units.blocks
        ]

    @cached_property
    def _sequences(self) -> list[tuple[tuple[str, ...], int, Ids]]:
        """The units along each axis of each tensor of the module."""
        find = self.record.units.find
        return [(names, dim, find(ids)) for names, axes in self.record.tensors.items() for dim, ids in enumerate(axes)]

    @cached_property
    def _ranks(self) -> dict[int, int]:
        """Units by their first appearance in a tensor of the module."""
        ranks: dict[int, int] = {}
        for _, _, units in self._sequences:
            for unit in units.tolist():
                ranks.setdefault(unit, len(ranks))
        return ranks

    @cached_property
    def _orbits(self) -> list[Orbit]:
        """Units by how often they are in each result and tensor, and by their blocks and members."""
        colours = self._counts()
        while True:
            finer = self._refined(colours)
            if len(set(finer.values())) == len(set(colours.values())):
                break
            colours = finer
        orbits: dict[int, list[int]] = {}
        for unit in sorted(colours, key=self._rank):
            orbits.setdefault(colours[unit], []).append(unit)
        return [tuple(orbit) for orbit in orbits.values()]

    def _counts(self) -> dict[int, int]:
        find = self.record.units.find
        arrays = [ids for _, _, ids in self._sequences] + [find(ids).ravel() for ids in self.record.fields]
        unique = {np.sort(ids).tobytes(): ids for ids in arrays}
        places: dict[int, list[tuple[int, int]]] = {block: [] for block, _ in self._blocks}
        for number, ids in enumerate(unique.values()):
            for unit, count in zip(*(values.tolist() for values in np.unique(ids, return_counts=True)), strict=True):
                places.setdefault(unit, []).append((number, count))
        return _numbered({unit: tuple(where) for unit, where in places.items()})

    def _refined(self, colours: dict[int, int]) -> dict[int, int]:
        below: dict[int, list[tuple[int, ...]]] = {}
        above: dict[int, list[int]] = {}
        for block, members in self._blocks:
            below.setdefault(block, []).append(tuple(sorted(colours.get(member, -1) for member in members)))
            for member in members:
                above.setdefault(member, []).append(colours[block])
        return _numbered(
            {
                unit: (colour, tuple(sorted(below.get(unit, []))), tuple(sorted(above.get(unit, []))))
                for unit, colour in colours.items()
            }
        )

    @cached_property
    def _orbit_of(self) -> dict[int, Orbit]:
        return {unit: orbit for orbit in self._orbits for unit in orbit}

    @cached_property
    def _outer(self) -> dict[Orbit, set[Orbit]]:
        """The orbits of blocks that units of an orbit are in."""
        outer: dict[Orbit, set[Orbit]] = {orbit: set() for orbit in self._orbits}
        for block, members in self._blocks:
            for member in members:
                if len(self._orbit_of[block]) > 1:
                    outer[self._orbit_of[member]].add(self._orbit_of[block])
        return outer

    @cached_property
    def _inner(self) -> dict[Orbit, set[Orbit]]:
        """The orbits of units that are in blocks of an orbit."""
        inner: dict[Orbit, set[Orbit]] = {orbit: set() for orbit in self._orbits}
        for orbit, blocks in self._outer.items():
            for block in blocks:
                inner[block].add(orbit)
        return inner

    @cached_property
    def _appearances(self) -> dict[int, list[int]]:
        """Numbers of the sequences that each unit is in."""
        appearances: dict[int, list[int]] = {}
        for number, (_, _, units) in enumerate(self._sequences):
            for unit in np.unique(units).tolist():
                appearances.setdefault(unit, []).append(number)
        return appearances

    def _places_by_axis(self, orbit: Sequence[int]) -> dict[Axis, Places | None]:
        """The axes that carry the units, and where; None if position i is unit i."""
        places: dict[Axis, Places | None] = {}
        for number in self._appearances.get(orbit[0], []):
            names, dim, units = self._sequences[number]
            where = None if np.array_equal(units, orbit) else tuple(map(tuple, _find_places(orbit, units).tolist()))
            places |= {(name, dim): where for name in names}
        return places

    def _readings_of(self, axes: Sequence[Axis], orbit: Sequence[int]) -> tuple[Reading, ...]:
        """Inputs of the layers that consume the units; if there are none, outputs of those that carry them."""
        readings = self._channels.get(np.array(orbit).tobytes(), [])
        consumers = {name.rpartition(".")[0] for name, dim in axes if dim}
        inputs = tuple(reading for reading in readings if reading[1] == "input" and reading[0] in consumers)
        return inputs or tuple(reading for reading in readings if reading[1] == "output")

    @cached_property
    def _channels(self) -> dict[bytes, list[Reading]]:
        """Readings by the units of their channels, of modules that are called once in each mode."""
        channels: dict[bytes, list[Reading]] = {}
        for reading, labels in self.record.readings.items():
            seen = {self._channel_units(label) for label in labels}
            if len(seen) == 1 and len(labels) <= 2:
                channels.setdefault(seen.pop(), []).append(reading)
        return channels

    def _channel_units(self, label: Label) -> bytes:
        axis = 1 if len(label.shape) == 4 else len(label.shape) - 1
        own = [field.ids for field in label.fields if field.axes == (axis,)]
        return self.record.units.find(own[0]).tobytes() if own else b""


def _find_places(orbit: Sequence[int], units: Ids) -> Ids:
    """For each unit of the orbit, where it is in a sequence of units."""
    order = np.argsort(orbit)
    nearest = order[np.searchsorted(orbit, units, sorter=order).clip(max=len(orbit) - 1)]
    positions = np.flatnonzero(np.array(orbit)[nearest] == units)
    return positions[np.lexsort((positions, nearest[positions]))].reshape(len(orbit), -1)


def _make_group(parts: Sequence[Part], blocks: int) -> Group:
    size = max(part.size or 0 for part in parts)
    return Group(size, tuple(replace(part, size=None if part.size == size else part.size) for part in parts), blocks)


def _free_name(name: str, groups: Symmetry) -> str:
    """`name`, with a number if there are groups of this name."""
    taken = sum(other.partition(" ")[0] == name for other in groups)
    return f"{name} {taken + 1}" if taken else name


def _numbered(values: Mapping[int, object]) -> dict[int, int]:
    numbers: dict[object, int] = {}
    return {unit: numbers.setdefault(value, len(numbers)) for unit, value in values.items()}
