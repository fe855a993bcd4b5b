"""A partition of the user's own, and what it must keep to."""

import numpy as np

from fedkd.base.errors import InputError
from fedkd.base.user_code import import_function

Rows = list[np.ndarray]


def own_partition(name: str, labels: np.ndarray, clients: int, rng: np.random.Generator) -> Rows:
    """Have a function of the user's own deal examples to clients.

    Args:
        name: ``package.module:function``; it gets the three arguments below, and returns for each client the rows it
            holds, whole numbers (m,) in any order. Rows may be left out, but none is dealt twice.
        labels: int (n,), the class of each example; of other objectives, the group of alike targets it is in.
        clients: Their number.
        rng: Drawn from alone, the same seed deals the same rows.

    Returns:
        For each client its rows, int (m,), m >= 1.

    Raises:
        InputError: The function can't be imported, fails, or returns anything else.
    """
    what = f"partition.kind {name!r}"
    try:
        found = list(import_function(name)(labels.copy(), clients, rng))
    except Exception as error:
        said = " ".join(str(error).split())
        raise InputError(f"{what}: {type(error).__name__}: {said}") from error
    if len(found) != clients:
        raise InputError(f"{what}: must return {clients} arrays of rows, one a client, got {len(found)}")
    rows = [_rows(f"{what}: client {client}", item, len(labels)) for client, item in enumerate(found)]
    values, counts = np.unique(np.concatenate(rows), return_counts=True)
    if (counts > 1).any():
        twice = int(values[counts > 1][0])
        holders = [client for client, held in enumerate(rows) for _ in range(int(np.sum(held == twice)))]
        who = f"client {holders[0]}" if holders[0] == holders[1] else f"clients {holders[0]} and {holders[1]}"
        raise InputError(f"{what}: row {twice} is dealt twice, to {who}; each row may have one place")
    return rows


def _rows(whose: str, item: object, size: int) -> np.ndarray:
    try:
        rows = np.asarray(item)
    except ValueError as error:  # lists of several lengths
        raise InputError(f"{whose} must get whole numbers of shape (m,): {error}") from None
    if rows.ndim != 1 or (rows.size and rows.dtype.kind not in "iu"):
        raise InputError(f"{whose} must get whole numbers of shape (m,), got {rows.dtype} of shape {rows.shape}")
    if not rows.size:
        raise InputError(f"{whose} gets no row; each client needs some")
    if not 0 <= rows.min() <= rows.max() < size:
        worst = int(rows.max() if rows.max() >= size else rows.min())
        raise InputError(f"{whose} gets row {worst}, rows must be from 0 to {size - 1}")
    return rows.astype(np.int64)
