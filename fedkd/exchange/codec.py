"""The payload of an update: each tensor in the form its coding chose, checked against the model's own specification.

A blob holds up to six arrays. ``forms`` (int32): for each tensor of the model the kind of its form and its rank, or
the complement of that where it is a form of some of its rows. ``used`` (uint8): which, a bit each. ``values``: the
numbers of all forms in order, as float32 or as packed levels. ``steps`` (bfloat16 as uint16): what a level is worth,
one for each row, where there are levels. ``masks`` (uint8): which entries masked forms have, a bit each. ``whole``
(float32): the numbers of statistics, where all others are levels. Names and shapes are not sent: both sides know the
model. The header so costs some 250 bytes, whatever the number of tensors.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fedkd.base.tensors import Spec, TensorSpec, Weights, squared_norm
from fedkd.exchange.basis import Bases, Basis
from fedkd.exchange.blob import HEADER_LIMIT, Header, PayloadError, read_blob, write_blob
from fedkd.exchange.coding import PLAIN, Coding
from fedkd.exchange.factors import nothing
from fedkd.exchange.forms import Dense, Form, Shapes
from fedkd.exchange.layout import Layout, as_form, layout_of, read_layout
from fedkd.exchange.quantize import FLOAT, read_rows, write_rows
from fedkd.exchange.used_rows import Used, packed, read_used, smaller, spread, used_rows

DENSE = -1
_NO_MASK = np.empty((0, 0), bool)


@dataclass(frozen=True)
class Payload:
    """A decoded blob: the update it stands for, its header, and the rank of each tensor (-1 where not low-rank)."""

    tensors: Weights
    header: Header
    ranks: tuple[int, ...]

    @cached_property
    def norm(self) -> float:
        """L2 norm of the update over all its tensors."""
        return math.sqrt(squared_norm(self.tensors))


def encode(
    tensors: Sequence[np.ndarray],
    spec: Spec,
    header: Header,
    coding: Coding = PLAIN,
    bases: Bases | None = None,
    rng: np.random.Generator | None = None,
) -> bytes:
    """Compress a list of tensors and pack it.

    Args:
        tensors: float32 arrays as the spec says: an update, or a whole model.
        spec: The model's tensors.
        header: Goes into the blob's metadata.
        coding: How to compress; dense and exact by default.
        bases: Directions that the receiver knows too, one for each tensor.
        rng: For stochastic rounding.

    Raises:
        PayloadError: A tensor holds NaN or Inf (its name is given) or has another shape than the spec, or was reduced
            to a form of another shape.

    Reference:
        Wu et al. 2022, eqs 8-9.
    """
    _check(tensors, spec)
    known = bases or [None] * len(spec)
    forms, used = [], []
    for tensor, item, basis in zip(tensors, spec, known, strict=True):
        matrix = tensor.reshape(item.matrix)
        leaves_out = coding.compressor.leaves_out_zeros and tensor.any() and not item.statistic
        rows = used_rows(matrix, coding.bits) if leaves_out else None
        forms.append(_form(matrix if rows is None else matrix[rows], smaller(item, rows), coding, basis))
        used.append(rows)
    return pack_forms(forms, header, coding, rng, [item.statistic for item in spec], used)


def _form(matrix: np.ndarray, item: TensorSpec, coding: Coding, basis: Basis | None) -> Form:
    """Reduce a matrix, where that costs fewer bits than sending all of it."""
    if not matrix.any():
        return nothing(*item.matrix)
    dense = Dense(matrix)
    if item.statistic:
        return dense
    form = as_form(coding.compressor.compress(matrix, basis))
    if form.shape != item.matrix:
        raise PayloadError("reduce", f"{item.name} was reduced to {form.shape}, its matrix has shape {item.matrix}")
    costs = [layout_of(each).bits(item, coding.bits) for each in (form, dense)]
    return form if costs[0] < costs[1] else dense


def pack_forms(
    forms: Sequence[Form],
    header: Header,
    coding: Coding,
    rng: np.random.Generator | None = None,
    statistics: Sequence[bool] | None = None,
    used: Sequence[Used] | None = None,
) -> bytes:
    """Write forms as a blob; those of statistics, by a flag for each form, in float32, and those of some rows alone."""
    used = [None] * len(forms) if used is None else used
    codes = [layout_of(form).code for form in forms]
    codes = [code if rows is None else ~code for code, rows in zip(codes, used, strict=True)]
    flags = [False] * len(forms) if statistics is None or coding.bits == FLOAT else statistics
    rows = [row for form, flag in zip(forms, flags, strict=True) if not flag for row in form.rows()]
    whole = [row for form, flag in zip(forms, flags, strict=True) if flag for row in form.rows()]
    values, steps = write_rows(rows, coding.bits, rng if coding.stochastic else None)
    entries = {
        "forms": np.array(codes, "<i4"),
        "used": packed(used),
        "masks": np.concatenate([np.empty(0, np.uint8), *(form.packed_mask() for form in forms)]),
        "values": values,
        "steps": steps,
        "whole": write_rows(whole, FLOAT, None)[0],
    }
    return write_blob(entries, header, coding.bits, coding.deflate)


def largest(spec: Spec) -> int:
    """Bytes of the largest blob a model can need: all dense in float32, or all sparse with a mask."""
    size = sum(item.size for item in spec)
    return 8 + HEADER_LIMIT + 4 * (size + len(spec)) + size // 8


def decode(blob: bytes, spec: Spec, bases: Bases | None = None, expected: Header | None = None) -> Payload:
    """Check a blob against the spec, then restore its tensors, in twice the room of the largest blob at most.

    Args:
        blob: From the network.
        spec: The model's tensors.
        bases: Directions that a sender may have left out, one for each tensor.
        expected: The header the blob must have; any where None.

    Raises:
        PayloadError: Its ``reason`` is one of size, deflate, header, format, canonical, replay, base, method, forms,
            rank, values, not_finite.
    """
    entries, header, bits = read_blob(blob, largest(spec))
    if expected is not None:
        _check_header(header, expected)
    codes = entries["forms"]
    if len(codes) != len(spec):
        raise PayloadError("forms", f"{len(codes)} forms, the model has {len(spec)} tensors")
    used = read_used(entries["used"], (codes < 0).tolist(), spec, bits)
    items = tuple(smaller(item, rows) for item, rows in zip(spec, used, strict=True))
    # Directions are of whole matrices.
    known = [basis if rows is None else None for basis, rows in zip(bases or [None] * len(spec), used, strict=True)]
    layouts = _layouts(np.where(codes < 0, ~codes, codes), items, known, bits)
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow becomes Inf, which is refused
        tensors = _restored(entries, layouts, items, known, bits)
    for i, (rows, item) in enumerate(zip(used, spec, strict=True)):
        tensors[i] = spread(tensors[i], rows, item)
    return Payload(tensors, header, tuple(layout.rank if layout.form.low_rank else DENSE for layout in layouts))


def _restored(
    entries: dict[str, np.ndarray], layouts: Sequence[Layout], spec: Spec, known: Bases, bits: int
) -> Weights:
    """Restore all tensors from a blob's arrays, of which those that aren't needed any more are let go."""
    shapes = [layout.rows(item) for layout, item in zip(layouts, spec, strict=True)]
    flags = [bits != FLOAT and item.statistic for item in spec]
    try:
        numbers, steps = entries.pop("values"), entries.pop("steps")
        rows = iter(read_rows(numbers, steps, _of(shapes, flags, False), bits))
        whole = iter(read_rows(entries.pop("whole"), steps[:0], _of(shapes, flags, True), FLOAT))
        del numbers
    except ValueError as error:
        raise PayloadError("values", str(error)) from None
    masks = _masks(entries["masks"], layouts, spec)
    tensors: Weights = []
    for layout, item, shape, basis, flag in zip(layouts, spec, shapes, known, flags, strict=True):
        source = whole if flag else rows
        tensors.append(layout.form.read([next(source) for _ in shape], next(masks), basis).restore(item))
        if not _is_finite(tensors[-1]):
            raise PayloadError("not_finite", f"{item.name} holds NaN or Inf, or factors whose product overflows")
    return tensors


def _of(shapes: Sequence[Shapes], flags: Sequence[bool], wanted: bool) -> list[tuple[int, int]]:
    """Shapes of the rows of those forms whose flag is as wanted."""
    return [shape for each, flag in zip(shapes, flags, strict=True) if flag == wanted for shape in each]


def _check_header(header: Header, expected: Header) -> None:
    if header.round != expected.round:
        raise PayloadError("replay", f"the update is of round {header.round}, this is round {expected.round}")
    if header.base != expected.base:
        raise PayloadError("base", f"the update is of model {header.base}, this round builds on {expected.base}")
    if header.method != expected.method:
        raise PayloadError("method", f"the update is of {header.method}, this run's method is {expected.method}")


def _check(tensors: Sequence[np.ndarray], spec: Spec) -> None:
    if len(tensors) != len(spec):
        raise PayloadError("shape", f"{len(tensors)} tensors given, the model has {len(spec)}")
    for tensor, item in zip(tensors, spec, strict=True):
        if tensor.shape != item.shape:
            raise PayloadError("shape", f"{item.name} must have shape {item.shape}, got {tensor.shape}")
        if not np.isfinite(tensor).all():
            raise PayloadError("not_finite", f"{item.name} holds NaN or Inf")


def _layouts(codes: np.ndarray, spec: Spec, bases: Bases, bits: int) -> list[Layout]:
    layouts = []
    for code, item, basis in zip(codes.tolist(), spec, bases, strict=True):
        try:
            layout = read_layout(code)
        except ValueError:
            raise PayloadError("rank", f"{item.name} has form {code}, which is none") from None
        if not layout.fits(item, basis, bits):
            raise PayloadError("rank", f"{item.name} can't have form {layout.form.name}, rank {layout.rank}")
        layouts.append(layout)
    return layouts


def _is_finite(tensor: np.ndarray) -> bool:
    """Whether a tensor holds neither NaN nor Inf, without the room of a flag for each number."""
    return math.isfinite(tensor.max(initial=0.0)) and math.isfinite(tensor.min(initial=0.0))


def _masks(content: np.ndarray, layouts: Sequence[Layout], spec: Spec) -> Iterator[np.ndarray]:
    """Mask of each form, bool (P, Q), each made as it is asked for; empty for forms that have none."""
    sizes = [layout.mask(item) for layout, item in zip(layouts, spec, strict=True)]
    lengths = [-(-size // 8) for size in sizes]
    if len(content) != sum(lengths):
        raise PayloadError("values", f"{len(content)} bytes of masks, the forms ask for {sum(lengths)}")
    parts = (content[end - length : end] for end, length in zip(itertools.accumulate(lengths), lengths, strict=True))
    return (_mask(*each) for each in zip(parts, sizes, layouts, spec, strict=True))


def _mask(packed: np.ndarray, size: int, layout: Layout, item: TensorSpec) -> np.ndarray:
    if not size:
        return _NO_MASK
    mask = np.unpackbits(packed)
    if mask[size:].any() or mask.sum() != layout.rank:
        raise PayloadError("values", f"{item.name}: its mask doesn't have {layout.rank} entries")
    return mask[:size].view(bool).reshape(item.matrix)
