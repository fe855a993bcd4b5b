"""The weights of a model as a list of arrays, what each tensor is, and their hash."""

import hashlib
import math
import mmap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

_LARGE = 1 << 22  # bytes, from which numpy asks for larger pages
ALIGNMENT = 64  # bytes; TensorFlow reads an array in place that begins at a multiple of them

Weights = list[np.ndarray]

# Lists of arrays by the names of their groups, such as what a client keeps.
State = dict[str, Weights]


@dataclass(frozen=True)
class TensorSpec:
    """What a tensor must look like before it is accepted from the network.

    Args:
        name: For messages; tensors are matched by position.
        shape: Shape in Keras layout.
        leading: How many leading axes become the rows of the matrix the SVD sees. All but the last for kernels,
            all but the last two for depthwise kernels, the contracted axes for attention kernels.
        kernel: Whether it is one, or a table, where it has a matrix of rows: pruning leaves all else alone, such as
            biases of two axes, slopes and norms.
        statistic: Whether a layer measures it instead of training it, such as a variance. It is sent whole: a mean of
            what layers may hold is something they may hold, but what is left of one by compression need not be.
    """

    name: str
    shape: tuple[int, ...]
    leading: int
    kernel: bool = True
    statistic: bool = False

    @cached_property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @cached_property
    def matrix(self) -> tuple[int, int]:
        """Shape (P, Q) of the matrix form; a vector of n elements is (1, n), a scalar (1, 1).

        >>> TensorSpec("conv", (3, 3, 16, 32), 3).matrix
        (144, 32)
        >>> TensorSpec("bias", (32,), 0).matrix
        (1, 32)
        """
        return math.prod(self.shape[: self.leading]), math.prod(self.shape[self.leading :])


Spec = tuple[TensorSpec, ...]


def default_spec(shapes: Sequence[tuple[int, ...]]) -> Spec:
    """Spec of ordinary kernels and vectors: all axes but the last are rows."""
    return tuple(TensorSpec(f"tensor{i}", tuple(s), max(len(s) - 1, 0)) for i, s in enumerate(shapes))


def zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return zeros of which the system holds the pages that are written, and no others.

    numpy's own ask for pages of 2 MB, so that a few rows written here and there fill all of a table.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < _LARGE:
        return np.zeros(shape, dtype)
    return np.frombuffer(mmap.mmap(-1, size), dtype).reshape(shape)


def empty(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an array whose numbers aren't set, and which begins at a multiple of ``ALIGNMENT`` bytes."""
    size = math.prod(shape) * dtype.itemsize
    held = np.empty(size + ALIGNMENT, np.uint8)
    begin = -held.ctypes.data % ALIGNMENT
    return held[begin : begin + size].view(dtype).reshape(shape)


def frozen(arrays: Iterable[np.ndarray]) -> Weights:
    """Make arrays read-only that several hold; returns the very same ones."""
    held = [np.asarray(array) for array in arrays]
    for array in held:
        array.flags.writeable = False
    return held


def digest(weights: Sequence[np.ndarray]) -> str:
    """SHA-256 (64 hex digits) of shapes and little-endian float32 bytes, in order."""
    sha = hashlib.sha256()
    for array in weights:
        sha.update(repr(array.shape).encode())
        sha.update(np.ascontiguousarray(array, dtype="<f4").data)
    return sha.hexdigest()


def add(weights: Sequence[np.ndarray], update: Sequence[np.ndarray]) -> Weights:
    """Element-wise sum in float32, the same bits on every machine; arrays also where numpy gives a number."""
    return [np.asarray(w + u) for w, u in zip(weights, update, strict=True)]


def subtract(after: Sequence[np.ndarray], before: Sequence[np.ndarray]) -> Weights:
    """Element-wise difference in float32: the update of a round of training."""
    return [np.asarray(a - b) for a, b in zip(after, before, strict=True)]


def squared_norm(weights: Sequence[np.ndarray]) -> float:
    """Sum of the squares of all numbers, in float64."""
    flat = (np.ravel(array) for array in weights)
    return float(sum(np.einsum("i,i->", a, a, dtype=np.float64, casting="safe") for a in flat))


def weighted_mean(updates: Sequence[Sequence[np.ndarray]], weights: Sequence[float]) -> Weights:
    """Mean of several lists of arrays, summed in float64 in the order given, returned in float32.

    Args:
        updates: n lists of arrays with equal shapes.
        weights: n positive numbers; only their ratios matter.
    """
    shares = np.asarray(weights, np.float64) / np.sum(np.asarray(weights, np.float64))
    return [_mean(arrays, shares) for arrays in zip(*updates, strict=True)]  # one by one: float64 takes twice the room


def _mean(arrays: Sequence[np.ndarray], shares: np.ndarray) -> np.ndarray:
    total = np.zeros(arrays[0].shape, np.float64)
    for share, array in zip(shares, arrays, strict=True):
        total += share * array
    return total.astype(np.float32)
