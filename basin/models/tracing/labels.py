"""Labels: which axes of a tensor carry which units, and what operations on tensors do to them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, pairwise
from math import prod
from typing import Any

import numpy as np

from basin.models.tracing.units import Ids, Units

Variables = Sequence[Any]
"""A name for each axis of a tensor, as the letters of einsum. Axes of length 1 take no part."""


@dataclass(frozen=True)
class Field:
    """Units along one axis, or along several axes together."""

    axes: tuple[Any, ...]
    """Their numbers, or their variables in an einsum."""
    ids: Ids
    """One id for each position; its axes are `axes`, in order."""


@dataclass(frozen=True)
class Label:
    """A tensor's shape and its fields. Positions along an axis without a field stay where they are."""

    shape: tuple[int, ...]
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True)
class Algebra:
    """Operations on labels. Each one unifies what must move together."""

    units: Units

    def make(self, shape: Sequence[int]) -> Label:
        """A tensor whose axes can each be permuted."""
        return self.label(shape, (Field((axis,), self.units.make(size)) for axis, size in enumerate(shape)))

    def label(self, shape: Sequence[int], fields: Iterable[Field]) -> Label:
        """A label without trivial fields."""
        simple = (self._simplify(field) for field in fields)
        return Label(tuple(shape), tuple(field for field in simple if field.axes))

    def _simplify(self, field: Field) -> Field:
        """Drop axes along which the unit does not change."""
        axes, ids = list(field.axes), self.units.find(field.ids)
        for position in reversed(range(len(axes))):
            if ids.shape[position] == 1 or bool((ids == ids.take([0], axis=position)).all()):
                ids = np.asarray(np.take(ids, 0, axis=position))
                del axes[position]
        return Field(tuple(axes), ids)

    def project(self, field: Field, keep: Iterable[Any]) -> Field:
        """The blocks of units that a position along the kept axes stands for."""
        kept = [axis for axis in field.axes if axis in set(keep)]
        if not kept:
            return Field((), field.ids.ravel()[:1].reshape(()))
        order = [field.axes.index(axis) for axis in kept]
        rest = [position for position in range(len(field.axes)) if position not in order]
        ids = field.ids.transpose(order + rest)
        if rest:
            shape = ids.shape[: len(order)]
            ids = self.units.make_blocks(ids.reshape(prod(shape), -1)).reshape(shape)
        return Field(tuple(kept), ids)

    def freeze(self, label: Label, axes: Iterable[int]) -> Label:
        """Keep the positions along these axes where they are."""
        for axis in axes:
            for field in label.fields:
                self._freeze_field(field, axis)
        return self.label(label.shape, label.fields)

    def _freeze_field(self, field: Field, axis: Any) -> None:
        if axis in field.axes:
            first = field.ids.take([0], axis=field.axes.index(axis))
            self.units.unify(np.broadcast_to(first, field.ids.shape), field.ids)

    def combine(self, operands: Sequence[tuple[Label, Variables]], result: Variables, shape: Sequence[int]) -> Label:
        """An einsum, or any function of the values at equal positions followed by a symmetric reduction."""
        named = [self._named(label, variables) for label, variables in operands]
        for (fields, fixed), (others, others_fixed) in combinations(named, 2):
            for field in fields:
                for axis in others_fixed:
                    self._freeze_field(field, axis)
            for other in others:
                for axis in fixed:
                    self._freeze_field(other, axis)
        simple = [[self._simplify(field) for field in fields] for fields, _ in named]
        for fields, others in combinations(simple, 2):
            for field in fields:
                for other in others:
                    self._unify_fields(field, other)
        every = list(chain.from_iterable(simple))
        projected = [self.project(self._simplify(field), result) for field in every]
        positions = {variable: position for position, variable in enumerate(result)}
        fields = [Field(tuple(positions[v] for v in f.axes), f.ids) for f in _largest_fields(projected)]
        return self.label(shape, fields)

    def _named(self, label: Label, variables: Variables) -> tuple[list[Field], set[Any]]:
        """The fields by variable, and the variables of axes that stay as they are."""
        own = self.label(label.shape, label.fields).fields
        fields = [Field(tuple(variables[axis] for axis in field.axes), field.ids) for field in own]
        covered = set(chain.from_iterable(field.axes for field in fields))
        wide = {variable for variable, size in zip(variables, label.shape, strict=True) if size > 1}
        return fields, wide - covered

    def _unify_fields(self, field: Field, other: Field) -> None:
        shared = set(field.axes) & set(other.axes)
        if shared:
            one, two = self.project(field, shared), self.project(other, shared)
            order = [two.axes.index(axis) for axis in one.axes]
            self.units.unify(one.ids, two.ids.transpose(order))

    def permute(self, label: Label, order: Sequence[int]) -> Label:
        """Axis `order[i]` becomes axis i."""
        new = {axis: position for position, axis in enumerate(order)}
        fields = [Field(tuple(new[axis] for axis in field.axes), field.ids) for field in label.fields]
        return Label(tuple(label.shape[axis] for axis in order), tuple(fields))

    def take(self, label: Label, axis: int, index: Ids) -> Label:
        """Positions of one axis, in this order."""
        fields = []
        for field in label.fields:
            ids = field.ids.take(index, axis=field.axes.index(axis)) if axis in field.axes else field.ids
            fields.append(Field(field.axes, ids))
        shape = (*label.shape[:axis], len(index), *label.shape[axis + 1 :])
        return self.label(shape, fields)

    def split(self, label: Label, axis: int, sizes: Sequence[int]) -> Label:
        """One axis becomes several."""
        extra = len(sizes) - 1
        fields = []
        for field in label.fields:
            axes: list[int] = []
            shape: list[int] = []
            for own, size in zip(field.axes, field.ids.shape, strict=True):
                axes += range(axis, axis + extra + 1) if own == axis else [own + extra * (own > axis)]
                shape += sizes if own == axis else [size]
            fields.append(Field(tuple(axes), field.ids.reshape(shape)))
        return self.label((*label.shape[:axis], *sizes, *label.shape[axis + 1 :]), fields)

    def merge(self, label: Label, axis: int, count: int) -> Label:
        """`count` axes from `axis` on become one."""
        run = range(axis, axis + count)
        size = prod(label.shape[axis : axis + count])
        touching = [field for field in label.fields if set(field.axes) & set(run)]
        fields = [field for field in label.fields if field not in touching]
        if touching:
            fields.append(self._merged_field(touching, label, run))
        shape = (*label.shape[:axis], size, *label.shape[axis + count :])
        moved = [Field(tuple(a - (count - 1) * (a >= axis + count) for a in f.axes), f.ids) for f in fields]
        return self.label(shape, moved)

    def _merged_field(self, fields: Sequence[Field], label: Label, run: range) -> Field:
        field = fields[0] if len(fields) == 1 else self._joint_field(fields, label)
        outside = [axis for axis in field.axes if axis not in run]
        inside = [axis for axis in run if axis in field.axes]
        ids = field.ids.transpose([field.axes.index(axis) for axis in [*outside, *inside]])
        lead = ids.shape[: len(outside)]
        ids = ids.reshape(*lead, *(label.shape[axis] if axis in inside else 1 for axis in run))
        ids = np.broadcast_to(ids, (*lead, *(label.shape[axis] for axis in run)))
        return Field((*outside, run[0]), ids.reshape(*lead, -1))

    def _joint_field(self, fields: Sequence[Field], label: Label) -> Field:
        """Pairs of units of several fields."""
        axes = tuple(sorted(set(chain.from_iterable(field.axes for field in fields))))
        joint = Field(axes, self.units.make(*(label.shape[axis] for axis in axes)))
        for field in fields:
            self._unify_fields(joint, field)
        return joint

    def reshape(self, label: Label, shape: Sequence[int]) -> Label:
        """The same values in the same order under another shape."""
        position = 0
        for old, new in _reshape_runs(label.shape, shape):
            factors = _common_factors(old, new)
            if factors:
                label = self._split_run(label, position, _grouped_factors(factors, old))
                label = self._merge_run(label, position, _grouped_factors(factors, new))
            else:
                label = self.split(self.merge(label, position, len(old)), position, new)
            position += len(new)
        return label

    def _split_run(self, label: Label, position: int, parts: Sequence[tuple[int, ...]]) -> Label:
        for sizes in parts:
            label = self.split(label, position, sizes)
            position += len(sizes)
        return label

    def _merge_run(self, label: Label, position: int, parts: Sequence[tuple[int, ...]]) -> Label:
        for offset, sizes in enumerate(parts):
            label = self.merge(label, position + offset, len(sizes))
        return label

    def concatenate(self, labels: Sequence[Label], axis: int) -> Label:
        """Tensors one after another along an axis."""
        count = len(labels[0].shape)
        size = sum(label.shape[axis] for label in labels)
        shape = (*labels[0].shape[:axis], size, *labels[0].shape[axis + 1 :])
        others = [a if a != axis else None for a in range(count)]
        labels = [self._only_axis(label, axis) for label in labels]
        lengths = [
            self.label((*label.shape[:axis], 1, *label.shape[axis + 1 :]), self._without(label, axis))
            for label in labels
        ]
        rest = self.combine(
            [(label, others) for label in lengths], range(count), (*shape[:axis], 1, *shape[axis + 1 :])
        )
        if not any(axis in field.axes for label in labels for field in label.fields):
            return Label(shape, rest.fields)
        ids = np.concatenate([self._ids_along(label, axis) for label in labels])
        return self.label(shape, (*rest.fields, Field((axis,), ids)))

    def _without(self, label: Label, axis: int) -> list[Field]:
        return [field for field in label.fields if axis not in field.axes]

    def _only_axis(self, label: Label, axis: int) -> Label:
        """Freeze other axes of a field that has this one."""
        joint = [field for field in label.fields if axis in field.axes]
        return self.freeze(label, [a for field in joint for a in field.axes if a != axis])

    def _ids_along(self, label: Label, axis: int) -> Ids:
        for field in label.fields:
            if axis in field.axes:
                return field.ids
        return np.broadcast_to(self.units.make(1), (label.shape[axis],))


def _largest_fields(fields: Sequence[Field]) -> list[Field]:
    """Without those whose axes are all in another one."""
    kept: list[Field] = []
    for field in sorted(fields, key=lambda field: -len(field.axes)):
        if field.axes and not any(set(field.axes) <= set(other.axes) for other in kept):
            kept.append(field)
    return kept


def _reshape_runs(old: Sequence[int], new: Sequence[int]) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The shortest runs of axes of equal length, front to back."""
    runs = []
    i = j = 0
    while i < len(old) or j < len(new):
        left, right = list(old[i : i + 1]), list(new[j : j + 1])
        while prod(left) != prod(right):
            grow = left if prod(left) < prod(right) else right
            source, at = (old, i) if grow is left else (new, j)
            grow.append(source[at + len(grow)])
        runs.append((tuple(left), tuple(right)))
        i, j = i + len(left), j + len(right)
    return runs


def _common_factors(old: Sequence[int], new: Sequence[int]) -> tuple[int, ...]:
    """Lengths into which both shapes can be cut; empty if there are none."""
    cuts = sorted({prod(shape[:i]) for shape in (old, new) for i in range(len(shape) + 1)})
    steps = list(pairwise(cuts))
    return () if any(b % a for a, b in steps) else tuple(b // a for a, b in steps)


def _grouped_factors(factors: Sequence[int], sizes: Sequence[int]) -> list[tuple[int, ...]]:
    """Consecutive factors that multiply to each size."""
    groups, rest = [], list(factors)
    for size in sizes:
        group: list[int] = []
        while prod(group) < size:
            group.append(rest.pop(0))
        groups.append(tuple(group))
    return groups
