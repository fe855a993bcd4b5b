"""What a client's state holds that the state of one which has never trained doesn't: of large tables, some rows.

A client meets a few thousand words of a vocabulary of thirty thousand, so most rows of its word tables, and of their
moments, are as they were built.
"""

from collections.abc import Sequence

import numpy as np

from fedkd.base.tensors import empty, zeros

WHOLE = -1
# Numbers of an array that is worth a look.
_LARGE = 1 << 20


def moved(array: np.ndarray, like: np.ndarray) -> tuple[int, list[np.ndarray]]:
    """What to store of an array.

    Args:
        array: In C order.
        like: The same of a client that has never trained.

    Returns:
        ``WHOLE`` and the array; or how many rows have moved, their numbers (int32) and the rows.
    """
    rows = _rows(array, like)
    return (WHOLE, [array]) if rows is None else (len(rows), [rows, array[rows]])


def room(count: int, like: np.ndarray) -> list[np.ndarray]:
    """Empty arrays for what ``moved`` returned.

    Raises:
        ValueError: The array can't have as many rows.
    """
    if count == WHOLE:
        return [empty(like.shape, like.dtype)]
    if like.ndim < 2 or not 0 <= count <= len(like):
        raise ValueError(f"an array of shape {like.shape} has no {count} rows")
    return [np.empty(count, np.int32), np.empty((count, *like.shape[1:]), like.dtype)]


def whole(count: int, parts: Sequence[np.ndarray], like: np.ndarray) -> np.ndarray:
    """The array that ``moved`` was given.

    Raises:
        ValueError: A row that it hasn't.
    """
    if count == WHOLE:
        return parts[0]
    numbers, rows = parts
    if count and not 0 <= numbers.min() <= numbers.max() < len(like):
        raise ValueError(f"an array of {len(like)} rows has no row {numbers.max()}")
    array = like.copy() if like.any() else zeros(like.shape, like.dtype)
    array[numbers] = rows
    return array


def _rows(array: np.ndarray, like: np.ndarray) -> np.ndarray | None:
    """Numbers of the rows of which a bit differs; None where all had better be stored."""
    if array.size < _LARGE or array.ndim != 2 or array.dtype != np.float32:
        return None
    differs = array.view(np.uint32) != np.ascontiguousarray(like).view(np.uint32)
    rows = np.flatnonzero(differs.any(axis=1)).astype(np.int32)
    return rows if 2 * len(rows) <= len(array) else None
