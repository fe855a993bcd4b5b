"""Examples on the server for the ranges of activations; see ``fedkd.protocol.finishing`` for how to do without."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedkd.base.errors import InputError
from fedkd.config.edge import CALIBRATED, NEAREST
from fedkd.protocol.experiment import Experiment


def calibration_rows(experiment: Experiment) -> np.ndarray:
    """Return the examples (n, *input_shape) that a server has: those of a file, else those set aside in a simulation.

    Raises:
        InputError: The file is missing or malformed, or its examples have another shape or kind than the task's.
    """
    file, examples = experiment.config.edge.calibration_file, experiment.task.train.x
    return read_rows(Path(file), examples) if file else examples[experiment.calibration]


def without_examples(experiment: Experiment, skipped: Mapping[str, str]) -> dict[str, str]:
    """Find the wanted precisions that can't be made for want of examples.

    Args:
        experiment: Of the first round.
        skipped: Layers whose ranges clients can't learn, see ``fedkd.protocol.finishing.check``.

    Returns:
        By precision, one line that says why and what to do.
    """
    edge = experiment.config.edge
    if edge.calibration_file or len(experiment.calibration):
        return {}
    help_ = "give --calibration FILE.npz; float16 needs none"
    found = {
        p: f"{p} takes its ranges from examples and there are none: {help_}" for p in edge.wanted if p in CALIBRATED
    }
    if "int4" in edge.wanted and edge.rounding != NEAREST:
        why = f"int4 is rounded by {edge.rounding} over examples and there are none"
        found["int4"] = f"{why}: give --calibration FILE.npz; edge.rounding = {NEAREST} needs none"
    if "int8" in found and edge.qat and not skipped:
        del found["int8"]
    elif "int8" in found and edge.qat:
        kinds = ", ".join(f"{why} ({count})" for why, count in Counter(skipped.values()).most_common())
        found["int8"] = f"int8 takes examples, {len(skipped)} layers can't learn their ranges: {kinds}; {help_}"
    elif "int8" in found:
        found["int8"] += ", and --finish 'qat int8' has clients learn them"
    return found


def read_rows(path: Path, like: np.ndarray, option: str = "--calibration") -> np.ndarray:
    """Read the array ``x`` of an .npz file: examples as the model takes them, in the dtype of the task's.

    Args:
        path: The file.
        like: The task's own examples (n, *input_shape).
        option: What takes the file, for messages.

    Raises:
        InputError: The file is missing or malformed, or its examples have another shape or kind, or aren't finite.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            x = file["x"]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {option} takes an .npz with examples as its array x") from None
    except Exception as error:  # numpy, zipfile and zlib raise a dozen kinds on damaged files
        raise InputError(f"{path}: not a readable .npz file with an array x ({error})") from None
    same_kind = (x.dtype.kind == "f") == (like.dtype.kind == "f") and x.dtype.kind in "fiu"
    if not (len(x.shape) and len(x) and x.shape[1:] == like.shape[1:] and same_kind):
        raise InputError(
            f"{path}: x must hold examples of shape {like.shape[1:]} in {like.dtype}, as the model takes them, got"
            f" {x.dtype} of shape {x.shape}"
        )
    if x.dtype.kind == "f" and not (finite := np.isfinite(x).reshape(len(x), -1).all(1)).all():
        raise InputError(f"{path}: x must be finite, got NaN or infinity in row {int(np.argmin(finite))}")
    return x.astype(like.dtype)
