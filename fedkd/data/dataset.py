"""Examples with labels, checked once when they are made."""

from dataclasses import dataclass

import numpy as np

from fedkd.base.errors import InputError
from fedkd.objectives.objective import Objective

# Examples that models are measured on at a time; the last batch is filled up, so that there is one shape to compile.
# What more of them make of a convolution leaves a processor's cache.
EVALUATION_BATCH = 64


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples of one split.

    Args:
        x: float32 of shape (n, height, width, channels) for images, (n, steps, channels) for windows of sensor data or
            (n, features) for rows of a table, or int32 of shape (n, tokens), where 0 is padding.
        y: Target of each example, shape (n, ...), as the task's objective has it: int32 (n,) where it is a class.
        owners: Natural client of each example, shape (n,), where the data have them.
        segments: Stretch of recording each example was cut from, shape (n,), where neighbours overlap.
        unlabelled: Inputs of further examples, of which no label is known, (m, ...) as ``x``; None for none.
    """

    x: np.ndarray
    y: np.ndarray
    owners: np.ndarray | None = None
    segments: np.ndarray | None = None
    unlabelled: np.ndarray | None = None

    def __len__(self) -> int:
        """Number of examples."""
        return len(self.y)

    def take(self, rows: np.ndarray) -> "Dataset":
        """Return the examples of some rows, in the order given, and none without labels."""
        owners = None if self.owners is None else self.owners[rows]
        segments = None if self.segments is None else self.segments[rows]
        return Dataset(self.x[rows], self.y[rows], owners, segments)


def checked(source: str, split: str, data: Dataset, objective: Objective) -> Dataset:
    """Return the data set, or say which of its arrays breaks which rule.

    Args:
        source: Where it comes from, for messages.
        split: The task's, for messages; empty for a file of one split, whose arrays have plain names.
        data: The examples.
        objective: The task's, which says what targets are.

    Raises:
        InputError: Empty, lengths that differ, NaN or Inf, or targets that aren't the objective's.
    """
    end = f"_{split}" if split else ""
    _check_array(source, f"x{end}", data.x, "fi", "an array of float32 or int32")
    objective.check_target(f"{source}: y{end}", data.y)
    if not len(data):
        what = f"the {split} split is empty" if split else "no examples"
        raise InputError(f"{source}: {what}, at least one example is needed")
    for name, array in (("x", data.x), ("client", data.owners), ("segment", data.segments)):
        if array is not None and (np.ndim(array) == 0 or len(array) != len(data)):
            rows = f"{len(array)} rows" if np.ndim(array) else "no rows"
            raise InputError(f"{source}: {name}{end} has {rows}, y{end} has {len(data)}; they must be equal")
        if array is not None and name != "x" and np.ndim(array) != 1:
            raise InputError(f"{source}: {name}{end} must have shape ({len(data)},), got {np.shape(array)}")
    check_finite(f"{source}: x{end}", data.x)
    return data


def check_finite(name: str, x: np.ndarray) -> None:
    """Refuse NaN and Inf; to be called before anything spreads them over whole columns.

    Args:
        name: Of the array, for the message.
        x: Examples (n, ...).

    Raises:
        InputError: Says where the first one is.
    """
    if np.issubdtype(x.dtype, np.floating) and not np.isfinite(x).all():
        row, *place = np.argwhere(~np.isfinite(x))[0].tolist()
        column = f", column {place[0]}" if len(place) == 1 else ""
        raise InputError(f"{name} holds NaN or Inf (first in row {row}{column}); clean the data first")


def _check_array(source: str, name: str, array: object, kinds: str, rule: str) -> None:
    if isinstance(array, np.ndarray) and array.ndim and array.dtype.kind in kinds:
        return
    found = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
    raise InputError(f"{source}: {name} must be {rule}, got {found}")
