"""The examples that a manifest shows to everybody: some of the task's, those of a file, or drawn ones."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from clients.device.protocol.manifest import LARGEST_MANIFEST
from fedkd.base.errors import InputError
from fedkd.base.seeding import Purpose, generator
from fedkd.protocol.calibration import read_rows
from fedkd.tasks.task import Task

EXAMPLES = 8
SYNTHETIC = "synthetic"
_BYTES = LARGEST_MANIFEST // 4


def golden_rows(task: Task, given: str, end: Mapping[str, Any], seed: int) -> np.ndarray:
    """Choose the examples.

    Args:
        task: Of the model.
        given: Path of an .npz with the array ``x``; ``synthetic`` for drawn ones; empty for rows of the test set.
        end: dtype, scale and zero point of the model's input.
        seed: Of what is drawn.

    Returns:
        As the task's examples, (n, *input shape) in their dtype; n is 8 or as many as a manifest has room for, of a
        file all.

    Raises:
        InputError: The file can't be read, doesn't fit the task, or has more than a manifest has room for.
    """
    like = task.test.x
    most = max(1, _BYTES // like[0].nbytes)
    if given == SYNTHETIC:
        return drawn(like, end, min(EXAMPLES, most), generator(seed, Purpose.GOLDEN))
    if not given:
        return like[_spread(task.test.y, min(EXAMPLES, most))]
    rows = read_rows(Path(given), like, "--golden")
    if len(rows) > most:
        raise InputError(f"--golden {given}: x may have {most} examples, for a manifest is small; got {len(rows)}")
    return rows


def drawn(like: np.ndarray, end: Mapping[str, Any], count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw examples that nobody measured.

    Args:
        like: The task's own, (n, *input shape).
        end: dtype, scale and zero point of the input.
        count: How many.
        rng: What draws.

    Returns:
        In the dtype of ``like``: ids up to the largest of ``like``; numbers over the whole range that an integer input
        can hold; for a float input, numbers of the mean and deviation of all of ``like``.
    """
    shape = (count, *like.shape[1:])
    if like.dtype.kind in "iu":
        return rng.integers(0, int(like.max()) + 1, shape).astype(like.dtype)
    if end["scale"]:
        held = np.iinfo(end["dtype"])
        low, high = ((edge - end["zero_point"]) * end["scale"] for edge in (held.min, held.max))
        return rng.uniform(low, high, shape).astype(like.dtype)
    return rng.normal(float(like.mean()), float(like.std()), shape).astype(like.dtype)


def _spread(y: np.ndarray, count: int) -> np.ndarray:
    """Rows whose classes are as many as can be: the first of each class, then the second."""
    turn = np.array([int((y[:row] == label).sum()) for row, label in enumerate(y[:4096])])
    return np.argsort(turn, kind="stable")[:count]
