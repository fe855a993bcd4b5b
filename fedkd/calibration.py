"""Examples on the server for the ranges of activations; a federation can do without, see ``fedkd.finishing``."""

from pathlib import Path

import numpy as np

from fedkd.config import ModelConfig
from fedkd.errors import InputError
from fedkd.experiment import Experiment
from fedkd.tasks.npz import inputs


def calibration_rows(experiment: Experiment) -> np.ndarray:
    """Return the examples (n, *input_shape) that a server has: those of a file, else those set aside in a simulation.

    Raises:
        InputError: The file is missing or malformed, or its examples have another shape or kind than the task's.
    """
    file = experiment.config.edge.calibration_file
    wanted = experiment.task.train.x
    return read_rows(Path(file), wanted, experiment.config.model) if file else wanted[experiment.calibration]


def read_rows(path: Path, wanted: np.ndarray, models: ModelConfig) -> np.ndarray:
    """Read examples from a file.

    Args:
        path: An .npz with the array ``x``.
        wanted: The task's own, whose shape and kind they must have.
        models: What word ids are cut to, see ``fedkd.tasks.npz``.

    Raises:
        InputError: As ``calibration_rows``.
    """
    try:
        with np.load(path, allow_pickle=False) as held:
            x = held["x"]
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; --calibration takes an .npz file with examples as its array x"
        ) from None
    except Exception as error:  # numpy, zipfile and zlib raise a dozen kinds on damaged files
        raise InputError(f"{path}: not a readable .npz file with an array x ({error})") from None
    rows = inputs(str(path), "x", x, models)
    if not len(rows) or rows.shape[1:] != wanted.shape[1:] or rows.dtype != wanted.dtype:
        raise InputError(
            f"{path}: x must hold examples of shape {wanted.shape[1:]} in {wanted.dtype}, got {rows.dtype} of shape"
            f" {rows.shape}"
        )
    return rows
