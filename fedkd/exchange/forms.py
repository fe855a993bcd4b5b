"""The forms in which a tensor of an update is sent, and the tensor each stands for: dense and sparse ones.

Products are in ``fedkd.exchange.factors``. A further form is one class like these, and one entry in the table of
``fedkd.exchange.layout``.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from fedkd.base.tensors import TensorSpec
from fedkd.exchange.basis import Basis

Shapes = list[tuple[int, int]]


class Form(ABC):
    """One way to send a matrix (P, Q): some rows of numbers and, where it is ``masked``, a bit for each entry.

    How much is sent follows from one number, the ``rank``. So a receiver knows from the kind of a form, its rank and
    the model what to read, before it reads any of it.
    """

    name: ClassVar[str]  # for messages
    low_rank: ClassVar[bool] = False  # whether it is a product of factors
    masked: ClassVar[bool] = False  # whether it sends a mask, which has as many entries as its rank says

    @property
    @abstractmethod
    def rank(self) -> int:
        """How much is sent."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Shape (P, Q) of the matrix that the form stands for; none where its parts don't fit each other."""

    @abstractmethod
    def rows(self) -> list[np.ndarray]:
        """Return the numbers that are sent, float32, as ``row_shapes`` says."""

    def packed_mask(self) -> np.ndarray:
        """Return the mask as it is sent, uint8, eight entries in each."""
        return np.empty(0, np.uint8)

    @abstractmethod
    def restore(self, item: TensorSpec) -> np.ndarray:
        """Return the float32 tensor of shape ``item.shape`` that the form stands for, alike on every machine."""

    @classmethod
    @abstractmethod
    def row_shapes(cls, rank: int, item: TensorSpec) -> Shapes:
        """Shapes (rows, numbers in a row) of what is sent; each row that is quantized has a step of its own."""

    @classmethod
    @abstractmethod
    def fits(cls, rank: int, item: TensorSpec, basis: Basis | None) -> bool:
        """Whether a tensor can be sent in this form with a rank, and what isn't sent is known."""

    @classmethod
    @abstractmethod
    def read(cls, rows: Sequence[np.ndarray], mask: np.ndarray, basis: Basis | None) -> "Form":
        """Undo ``rows``.

        Args:
            rows: float32, as ``row_shapes`` says.
            mask: bool (P, Q), which entries are sent; empty where the form isn't ``masked``.
            basis: Directions that both sides know, for what isn't sent.
        """


@dataclass(frozen=True)
class Dense(Form):
    """All entries of a matrix.

    Args:
        matrix: float32, (P, Q).
    """

    name = "dense"
    matrix: np.ndarray

    @property
    def rank(self) -> int:
        """0."""
        return 0

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the array."""
        return self.matrix.shape

    def rows(self) -> list[np.ndarray]:
        """Return one row."""
        return [self.matrix.reshape(1, -1)]

    def restore(self, item: TensorSpec) -> np.ndarray:
        """Return the numbers as they are."""
        return self.matrix.reshape(item.shape)

    @classmethod
    def row_shapes(cls, rank: int, item: TensorSpec) -> Shapes:
        """All numbers in one row."""
        return [(1, item.size)]

    @classmethod
    def fits(cls, rank: int, item: TensorSpec, basis: Basis | None) -> bool:
        """Without a rank."""
        return rank == 0

    @classmethod
    def read(cls, rows: Sequence[np.ndarray], mask: np.ndarray, basis: Basis | None) -> "Dense":
        """Take the row."""
        return cls(rows[0])


@dataclass(frozen=True)
class Sparse(Form):
    """A few entries of a matrix; all others are zero.

    Args:
        mask: bool (P, Q), which entries.
        values: float32, one for each entry of the mask, in order.
    """

    name = "sparse"
    masked = True
    mask: np.ndarray
    values: np.ndarray

    @property
    def rank(self) -> int:
        """Number of entries."""
        return len(self.values)

    @property
    def shape(self) -> tuple[int, ...]:
        """That of the mask."""
        return self.mask.shape

    def rows(self) -> list[np.ndarray]:
        """Return the values in one row."""
        return [self.values[None]]

    def packed_mask(self) -> np.ndarray:
        """Return a bit for each entry of the matrix."""
        return np.packbits(self.mask)

    def restore(self, item: TensorSpec) -> np.ndarray:
        """Put the values in their places."""
        matrix = np.zeros(item.matrix, np.float32)
        matrix[self.mask] = self.values
        return matrix.reshape(item.shape)

    @classmethod
    def row_shapes(cls, rank: int, item: TensorSpec) -> Shapes:
        """As many numbers as there are entries, in one row."""
        return [(1, rank)]

    @classmethod
    def fits(cls, rank: int, item: TensorSpec, basis: Basis | None) -> bool:
        """With no more entries than the matrix has."""
        return rank <= item.size

    @classmethod
    def read(cls, rows: Sequence[np.ndarray], mask: np.ndarray, basis: Basis | None) -> "Sparse":
        """Take mask and values."""
        return cls(mask, rows[0][0])
