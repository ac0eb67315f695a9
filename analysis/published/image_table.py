"""The table `outcomes` of a published sweep: what is kept of it, and its encoding.

Kept are, of reported trials and on test: the ensemble, members, soup, and mixed networks of paths and hull, with
correctness and losses; and means over subsets of deep ensembles, the curve of the deep-ensemble equivalent. Losses of
mixed networks are rounded more coarsely than the others.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute

from analysis.constructions import REFERENCE
from analysis.data.results import Row
from analysis.published import image_codes
from sweeps.storage.outcomes import LISTS, ROUNDED

SPLIT = "test"
MIXED = ("path", "hull")
SUBSETS = "size"
HALVES = pa.list_(pa.field("element", pa.float16()))
CODED = {name: (f"{name}_codes", f"{name}_levels") for name in LISTS}
"""Column of values per image → the columns that stand for it."""


def trim(table: pa.Table, row: Row) -> pa.Table:
    """Return the rows of a trial's `outcomes` that are published."""
    compute = pa.compute
    table = table.filter(compute.equal(table["split"], SPLIT))
    if row["construction"] != REFERENCE:
        table = table.filter(compute.not_equal(table["kind"], SUBSETS))
    return table


def encode(table: pa.Table) -> pa.Table:
    """Replace each list of half-precision values by the bytes and levels of `image_codes`."""
    table = _with_note(table, None)
    widths = [image_codes.COARSE if kind in MIXED else image_codes.WIDTH for kind in table["kind"].to_pylist()]
    for name, columns in CODED.items():
        place, field = table.schema.get_field_index(name), table.schema.field(name)
        coded = [_encode_values(*one) for one in zip(table[name].to_numpy(), widths, strict=True)]
        codes, levels = (pa.array([one and one[part] for one in coded], kind) for part, kind in _PARTS)
        what = {**(field.metadata or {}), b"levels": b"mean of each bin; codes name the bin of each image"}
        table = table.set_column(place, pa.field(columns[1], HALVES, metadata=what), levels)
        table = table.add_column(place, pa.field(columns[0], pa.binary(), metadata=what), codes)
    return table


def decode(table: pa.Table) -> pa.Table:
    """Undo `encode`."""
    for name, (codes, levels) in CODED.items():
        field = table.schema.field(codes)
        place = table.schema.get_field_index(codes)
        pairs = zip(table[codes].to_pylist(), table[levels].to_numpy(), strict=True)
        values = [None if code is None else image_codes.decode(code, level) for code, level in pairs]
        what = {key: text for key, text in (field.metadata or {}).items() if key != b"levels"}
        table = table.drop_columns([codes, levels])
        table = table.add_column(place, pa.field(name, HALVES, metadata=what or None), pa.array(values, HALVES))
    return _with_note(table, b"test rows of a published trial, values per image rounded")


def _with_note(table: pa.Table, note: bytes | None) -> pa.Table:
    """Say in the metadata that values are rounded, or no longer say it."""
    metadata = {name: text for name, text in (table.schema.metadata or {}).items() if name != ROUNDED}
    return table.replace_schema_metadata((metadata | ({ROUNDED: note} if note else {})) or None)


_PARTS = ((0, pa.binary()), (1, HALVES))


def _encode_values(values: np.ndarray | None, width: float) -> tuple[bytes, np.ndarray] | None:
    return None if values is None else image_codes.encode(np.asarray(values, dtype=np.float16), width)
