"""Rows of a kernel or table as whole multiples of a step of their own."""

import numpy as np

LEAST = 1024  # numbers of a constant that is worth rounding, as TensorFlow's converter has it
FOUR = 4  # bits of a file's word tables and dense kernels
_SHARES = np.linspace(1.0, 0.5, 21)  # of the largest number of a row that its steps may reach to
_EXACT = 1e-10  # of a row's squares: what is left when its numbers are multiples but for float32's own rounding


def rounded(matrix: np.ndarray, bits: int, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Round each row of a matrix to whole multiples of a step of its own, the one of the least squared error.

    A row of whole multiples of some step keeps them, whatever the largest of them is: who has chosen the multiples of
    a kernel by other means finds them in the file. Rows too small for a step that is a normal float become zeros, for
    LiteRT runs no file of others.

    Args:
        matrix: float32 (rows, n).
        bits: Of the multiples, which go from -(2**(bits-1) - 1) to as much above 0.
        weights: Of the squared errors of each column (n,), none negative; all alike where None.

    Returns:
        The multiples, int8 (rows, n), and the steps, float32 (rows,).
    """
    steps = _steps(matrix, most(bits))
    best, least = steps, np.full(len(matrix), np.inf)
    for share in _SHARES if bits < 8 else _SHARES[:1]:
        tried = steps * np.float32(share)
        error = _error(matrix, tried, bits, weights)
        best, least = np.where(error < least, tried, best), np.minimum(error, least)
    best = _kept(matrix, best, bits)
    return multiples(matrix, best, bits).astype(np.int8), best


def multiples(matrix: np.ndarray, steps: np.ndarray, bits: int) -> np.ndarray:
    """The nearest multiples of each row's step, whole numbers (rows, n), for a matrix and steps of float32."""
    return np.clip(np.round(matrix / steps[:, None]), -most(bits), most(bits))


def _steps(matrix: np.ndarray, largest: int) -> np.ndarray:
    """Of each row, the step of which its largest number is so many; 1 where that or half of it isn't a normal float."""
    steps = np.abs(matrix).max(axis=1) / largest
    return np.where(steps >= 2 * np.finfo(np.float32).tiny, steps, 1).astype(np.float32)


def most(bits: int) -> int:
    """The largest multiple: as much below 0 as above it, so that 0 is one."""
    return int(2 ** (bits - 1) - 1)


def _error(matrix: np.ndarray, steps: np.ndarray, bits: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Of each row, the sum of squares of what rounding changes."""
    squares = np.square(multiples(matrix, steps, bits) * steps[:, None] - matrix)
    return np.asarray(squares.sum(axis=1) if weights is None else squares @ weights)


def _kept(matrix: np.ndarray, steps: np.ndarray, bits: int) -> np.ndarray:
    """The steps, but for rows that are multiples of a wider one: of the widest there is."""
    allowed = _EXACT * np.square(matrix).sum(axis=1)
    lossy = _error(matrix, steps, bits) > allowed
    for largest in range(most(bits), 0, -1) if bits < 8 and lossy.any() else ():
        wide = _steps(matrix, largest)
        steps = np.where(lossy & (_error(matrix, wide, bits) <= allowed), wide, steps)
    return steps
