"""A node's own training examples: what a device has recorded, in a file that never leaves it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from fedkd.base.errors import InputError
from fedkd.data.dataset import Dataset, check_finite, checked
from fedkd.data.ranges import beyond, magnitudes
from fedkd.tasks.wanted import Wanted

_NEEDED = ("x", "y")
_UNLABELLED = "unlabelled"
_STANDARDISED = "standardised"  # an array of the file: rows of a table are as models take them


class Wants(Protocol):
    """A task, or what a node knows of one."""

    @property
    def wanted(self) -> Wanted:
        """How a node's own examples must look."""
        ...


def read_own(path: Path, task: Wants) -> Dataset:
    """Read what a node trains on, and check it against the task.

    Args:
        path: An .npz with x (n, *input_shape) as the model takes them, but rows of a table as they were measured; y
            (n, ...) the targets; segment (n,) where neighbouring examples were cut from one recording and overlap; and
            unlabelled (m, *input_shape), where it has examples without labels, too.
        task: Says the shape and kind of an example, and what its targets are.

    Returns:
        n examples, in the dtypes of the task's.

    Raises:
        InputError: Missing or malformed file, missing arrays, none or other examples than the task's, NaN or Inf, or
            labels or word ids out of range.
    """
    arrays = read_arrays(path)
    like = task.wanted
    x = _inputs(path, "x", arrays, like)
    # Before any cast to int32, which would make 2**32 a 0.
    targets = like.objective.check_target(f"{path}: y", arrays["y"])
    found = checked(str(path), "", Dataset(x, targets, segments=arrays.get("segment")), like.objective)
    return replace(found, unlabelled=_some(path, _UNLABELLED, arrays, like)) if _UNLABELLED in arrays else found


def read_unlabelled(path: Path, task: Wants) -> np.ndarray:
    """Read examples without labels, and check them against the task.

    Args:
        path: An .npz with x (m, *input_shape), m >= 1, as ``read_own`` takes it.
        task: Says the shape and kind of an example.

    Returns:
        The inputs, in the dtype of the task's.

    Raises:
        InputError: Missing or malformed file, none or other examples than the task's, NaN or Inf, ids out of
            range, or numbers in another unit.
    """
    like = task.wanted
    x = _some(path, "x", read_arrays(path, ("x",)), like)
    why = beyond(magnitudes(x), like.magnitudes) if like.dtype.kind == "f" else ""
    if why:
        raise InputError(f"{path}: x {why} the task's training examples; measure them alike")
    return x


def _some(path: Path, name: str, arrays: Mapping[str, np.ndarray], like: Wanted) -> np.ndarray:
    """Examples of an array that holds one at least, checked, as models take them."""
    x = _inputs(path, name, arrays, like)
    if not len(x):
        raise InputError(f"{path}: {name} holds no examples, at least one is needed")
    check_finite(f"{path}: {name}", x)
    return x


def _inputs(path: Path, name: str, arrays: Mapping[str, np.ndarray], like: Wanted) -> np.ndarray:
    """Examples of an array, checked, as models take them."""
    x = arrays[name]
    kinds = "f" if like.dtype.kind == "f" else "iu"
    if x.ndim == 0 or x.shape[1:] != like.shape or x.dtype.kind not in kinds:
        raise InputError(
            f"{path}: {name} must hold examples of shape {like.shape} in {like.dtype}, as the model takes them, got"
            f" {x.dtype} of shape {x.shape}"
        )
    if kinds == "iu":
        _check_range(f"{path}: {name} holds", x, like.largest, "the task's models know word ids")
    if like.inputs is not None and _STANDARDISED not in arrays:
        x = like.inputs.apply(x)
    return x.astype(like.dtype, copy=False)


def warning_of(data: Dataset, task: Wants) -> str:
    """Say where a node's examples seem to be measured in another unit than the task's; empty where they don't."""
    why = beyond(magnitudes(data.x), task.wanted.magnitudes) if task.wanted.dtype.kind == "f" else ""
    return f"x {why} the task's training examples: are they measured alike?" if why else ""


def _check_range(what: str, array: np.ndarray, largest: int, rule: str) -> None:
    if not array.size:
        return
    for value in (int(array.min()), int(array.max())):
        if not 0 <= value <= largest:
            raise InputError(f"{what} {value}, {rule} from 0 to {largest}")


def write_own(path: Path, data: Dataset) -> None:
    """Write some of a task's examples as ``read_own`` takes them: those of a table are marked as standardised."""
    arrays = {"x": data.x, "y": data.y, _STANDARDISED: np.array(True)}
    arrays |= {} if data.segments is None else {"segment": data.segments}
    arrays |= {} if data.unlabelled is None else {_UNLABELLED: data.unlabelled}
    np.savez(path, allow_pickle=False, **arrays)


def read_arrays(path: Path, needed: Sequence[str] = _NEEDED) -> dict[str, np.ndarray]:
    """Read the arrays of a node's file: those that are needed, and of the others it may have those it has.

    Raises:
        InputError: There is no such file, or it lacks some of them.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            known = {*needed, "segment", _UNLABELLED, _STANDARDISED}
            arrays = {name: file[name] for name in known & set(file.files)}
    except FileNotFoundError:
        what = "data=FILE.npz takes this node's examples as" if "y" in needed else "train.unlabelled takes an .npz with"
        raise InputError(f"{path}: no such file; {what} {', '.join(needed)}") from None
    except Exception as error:  # numpy, zipfile and zlib raise a dozen kinds on damaged files
        raise InputError(f"{path}: not a readable .npz file of plain arrays ({error})") from None
    if missing := [name for name in needed if name not in arrays]:
        raise InputError(f"{path}: arrays missing: {', '.join(missing)}; needed: {', '.join(needed)}")
    return arrays
