"""Where the numbers of a form lie in a blob: its kind, its rank, and the rows they make."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from fedkd.base.tensors import TensorSpec
from fedkd.exchange.basis import Basis
from fedkd.exchange.forms import Factors, Form, Sparse
from fedkd.exchange.quantize import FLOAT, STEP_BITS


class Kind(IntEnum):
    """What a form is; ``LEFT`` and ``RIGHT`` are the one factor that is sent where the receiver knows the other."""

    DENSE = 0
    FACTORS = 1
    SPARSE = 2
    LEFT = 3
    RIGHT = 4


_KINDS = len(Kind)
_SENT = {"": Kind.FACTORS, "right": Kind.LEFT, "left": Kind.RIGHT}


@dataclass(frozen=True)
class Layout:
    """A form without its numbers.

    Args:
        kind: Of the form.
        rank: K of factors, number of entries of a sparse form, 0 where dense.
    """

    kind: Kind
    rank: int = 0

    @property
    def code(self) -> int:
        """Both in one number."""
        return self.rank * _KINDS + self.kind

    @property
    def low_rank(self) -> bool:
        """Whether the form is a product of factors."""
        return self.kind not in (Kind.DENSE, Kind.SPARSE)

    def rows(self, item: TensorSpec) -> list[tuple[int, int]]:
        """Shapes (rows, numbers a row) of what is sent: a factor has K rows, all else is one."""
        match self.kind:
            case Kind.DENSE:
                return [(1, item.size)]
            case Kind.SPARSE:
                return [(1, self.rank)]
            case Kind.FACTORS:
                return [(self.rank, n) for n in item.matrix]
            case Kind.LEFT:
                return [(self.rank, item.matrix[0])]
            case Kind.RIGHT:
                return [(self.rank, item.matrix[1])]

    def bits(self, item: TensorSpec, bits: int) -> int:
        """What the form costs, see ``bits_of``."""
        step, mask = 0 if bits == FLOAT else STEP_BITS, item.size if self.kind == Kind.SPARSE else 0
        return sum(rows * (columns * bits + step) for rows, columns in self.rows(item)) + mask


def read_layout(code: int) -> Layout:
    """Undo ``Layout.code``; raises ValueError where a code stands for none."""
    rank, kind = divmod(code, _KINDS)
    if rank < 0:
        raise ValueError(f"rank {rank}")
    return Layout(Kind(kind), rank)


def layout_of(form: Form) -> Layout:
    """Return the layout of a form."""
    if isinstance(form, Factors):
        return Layout(_SENT[form.known], form.rank)
    if isinstance(form, Sparse):
        return Layout(Kind.SPARSE, len(form.values))
    if isinstance(form, np.ndarray):
        return Layout(Kind.DENSE)
    raise TypeError(f"an update is reduced to an array, Factors or Sparse, got {type(form).__name__}")


def rows_of(form: Form) -> list[np.ndarray]:
    """Return the numbers of a form that are sent, as ``Layout.rows`` says."""
    if isinstance(form, Factors):
        return [part for side, part in (("left", form.left.T), ("right", form.right)) if side != form.known]
    return [form.values[None]] if isinstance(form, Sparse) else [form.reshape(1, -1)]


def shape_of(form: Form) -> tuple[int, ...]:
    """Shape of the matrix that a form stands for; none for factors that don't fit each other."""
    if isinstance(form, Factors):
        return (len(form.left), form.right.shape[1]) if form.left.shape[1] == len(form.right) else ()
    return form.mask.shape if isinstance(form, Sparse) else form.shape


def bits_of(form: Form, bits: int) -> int:
    """Bits that a form costs: its numbers, a step for each row where they are quantized, and its mask."""
    step = 0 if bits == FLOAT else STEP_BITS
    mask = form.mask.size if isinstance(form, Sparse) else 0
    return sum(row.size * bits + len(row) * step for row in rows_of(form)) + mask


def form_of(layout: Layout, rows: Sequence[np.ndarray], mask: np.ndarray, basis: Basis | None) -> Form:
    """Undo ``rows_of``.

    Args:
        layout: Of the form.
        rows: float32, as ``layout.rows`` says.
        mask: bool (P, Q), which entries a sparse form has.
        basis: The factor that wasn't sent.
    """
    if layout.kind == Kind.DENSE:
        return rows[0]
    if layout.kind == Kind.SPARSE:
        return Sparse(mask, rows[0][0])
    if layout.kind == Kind.FACTORS:
        return Factors(rows[0].T, rows[1])
    vectors = basis.vectors if basis else np.empty((0, 0), np.float32)
    return Factors(rows[0].T, vectors.T, "right") if layout.kind == Kind.LEFT else Factors(vectors, rows[0], "left")


def fits(layout: Layout, item: TensorSpec, basis: Basis | None, bits: int) -> bool:
    """Whether a layout is possible for a tensor, costs fewer bits than all entries, and what wasn't sent is known."""
    if layout.rank and layout.bits(item, bits) >= Layout(Kind.DENSE).bits(item, bits):
        return False
    if layout.kind in (Kind.LEFT, Kind.RIGHT):
        side = "right" if layout.kind == Kind.LEFT else "left"
        return basis is not None and (basis.side, basis.rank) == (side, layout.rank)
    return layout.rank <= {Kind.DENSE: 0, Kind.SPARSE: item.size}.get(layout.kind, min(item.matrix))
