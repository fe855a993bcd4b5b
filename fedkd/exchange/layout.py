"""Where the numbers of a form lie in a blob: its kind, its rank, and the rows they make."""

from dataclasses import dataclass

import numpy as np

from fedkd.base.tensors import TensorSpec
from fedkd.exchange.basis import Basis
from fedkd.exchange.factors import Factors, LeftFactor, RightFactor
from fedkd.exchange.forms import Dense, Form, Shapes, Sparse
from fedkd.exchange.quantize import FLOAT, STEP_BITS

# All forms; the place of each is its code in a blob. Their number is part of the format, see ``FORMAT`` of
# ``fedkd.exchange.blob``: who adds one raises that.
FORMS: tuple[type[Form], ...] = (Dense, Factors, Sparse, LeftFactor, RightFactor)


@dataclass(frozen=True)
class Layout:
    """A form without its numbers.

    Args:
        form: One of ``FORMS``.
        rank: How much of it is sent, see ``Form``.
    """

    form: type[Form]
    rank: int = 0

    @property
    def code(self) -> int:
        """Both in one number."""
        return self.rank * len(FORMS) + FORMS.index(self.form)

    def rows(self, item: TensorSpec) -> Shapes:
        """Shapes (rows, numbers in a row) of what is sent."""
        return self.form.row_shapes(self.rank, item)

    def mask(self, item: TensorSpec) -> int:
        """Entries of the mask that is sent, 0 where there is none."""
        return item.size if self.form.masked else 0

    def bits(self, item: TensorSpec, bits: int) -> int:
        """What the form costs: its numbers, a step for each row where they are quantized, and its mask, in bits."""
        step = 0 if bits == FLOAT else STEP_BITS
        return sum(rows * (columns * bits + step) for rows, columns in self.rows(item)) + self.mask(item)

    def fits(self, item: TensorSpec, basis: Basis | None, bits: int) -> bool:
        """Whether a tensor can have the layout, it costs fewer bits than all entries, and what isn't sent is known."""
        if item.statistic and self.rank:
            return False
        if self.rank and self.bits(item, bits) >= Layout(Dense).bits(item, bits):
            return False
        return self.form.fits(self.rank, item, basis)


def read_layout(code: int) -> Layout:
    """Undo ``Layout.code``; raises ValueError where a code stands for none."""
    rank, place = divmod(code, len(FORMS))
    if rank < 0:
        raise ValueError(f"rank {rank}")
    return Layout(FORMS[place], rank)


def layout_of(form: Form) -> Layout:
    """Return the layout of a form."""
    return Layout(type(form), form.rank)


def as_form(made: Form | np.ndarray) -> Form:
    """Return what a compressor made as a form; an array is sent dense.

    Raises:
        TypeError: It is neither an array nor one of ``FORMS``.
    """
    if isinstance(made, np.ndarray):
        return Dense(made)
    if type(made) in FORMS:
        return made
    known = ", ".join(form.__name__ for form in FORMS)
    raise TypeError(f"an update is reduced to an array or one of {known}, got {type(made).__name__}")
