"""Rows of a matrix that an update leaves as they are, such as those of words that nobody has met: they aren't sent.

What is left is a smaller matrix, reduced and written like any other, and a bit for each row of the whole one.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fedkd.base.tensors import Spec, TensorSpec, zeros
from fedkd.exchange.blob import PayloadError

Used = np.ndarray | None  # bool (P,): which rows of a matrix (P, Q) are sent; None for all


def used_rows(matrix: np.ndarray, bits: int) -> Used:
    """Find the rows that aren't zero; None where leaving the others out of a single column already costs more.

    Args:
        matrix: Shape (P, Q), not all zero.
        bits: Of a number.
    """
    used: np.ndarray = (matrix != 0).any(axis=1)
    return used if _pays(used, bits) else None


def _pays(used: np.ndarray, bits: int) -> bool:
    return bool((len(used) - np.count_nonzero(used)) * bits > len(used))


def smaller(item: TensorSpec, used: Used) -> TensorSpec:
    """Return what a tensor is without the rows that aren't sent."""
    if used is None:
        return item
    return replace(item, shape=(int(np.count_nonzero(used)), item.matrix[1]), leading=1)


def spread(tensor: np.ndarray, used: Used, item: TensorSpec) -> np.ndarray:
    """Put the rows that were sent among zeros: float32 of the shape of the whole tensor."""
    if used is None:
        return tensor
    whole = zeros(item.matrix, np.dtype(np.float32))
    whole[used] = tensor
    return whole.reshape(item.shape)


def packed(used: Sequence[Used]) -> np.ndarray:
    """Return what is sent of all tensors' rows, uint8, eight in each."""
    return np.concatenate([np.empty(0, np.uint8), *(np.packbits(rows) for rows in used if rows is not None)])


def read_used(content: np.ndarray, flags: Sequence[bool], spec: Spec, bits: int) -> list[Used]:
    """Undo ``packed``.

    Args:
        content: From a blob.
        flags: For each tensor, whether some of its rows aren't sent.
        spec: The model's tensors.
        bits: Of a number.

    Raises:
        PayloadError: It isn't what ``packed`` makes of rows that ``used_rows`` finds.
    """
    sizes = [item.matrix[0] if flag else 0 for item, flag in zip(spec, flags, strict=True)]
    if len(content) != sum(-(-size // 8) for size in sizes):
        raise PayloadError("values", f"{len(content)} bytes of rows that are sent, the forms ask for {sum(sizes)} bits")
    used: list[Used] = []
    for item, size in zip(spec, sizes, strict=True):
        length = -(-size // 8)
        found, content = np.unpackbits(content[:length]), content[length:]
        rows = found[:size].view(bool)
        if size and (item.statistic or found[size:].any() or not rows.any() or not _pays(rows, bits)):
            raise PayloadError("rank", f"{item.name} can't go without the rows that aren't sent")
        used.append(rows if size else None)
    return used
