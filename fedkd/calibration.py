"""Examples on the server for the ranges of activations; a federation can do without, see ``fedkd.finishing``."""

from pathlib import Path

import numpy as np

from fedkd.errors import InputError
from fedkd.experiment import Experiment
from fedkd.tasks.npz import inputs


def calibration_rows(experiment: Experiment) -> np.ndarray:
    """Return the examples (n, *input_shape) that a server has: those of a file, else those set aside in a simulation.

    Raises:
        InputError: The file is missing or malformed, or its examples have another shape or kind than the task's.
    """
    file = experiment.config.edge.calibration_file
    return _read(Path(file), experiment) if file else experiment.task.train.x[experiment.calibration]


def _read(path: Path, experiment: Experiment) -> np.ndarray:
    try:
        with np.load(path, allow_pickle=False) as held:
            x = held["x"]
    except FileNotFoundError:
        raise InputError(
            f"{path}: no such file; --calibration takes an .npz file with examples as its array x"
        ) from None
    except Exception as error:  # numpy, zipfile and zlib raise a dozen kinds on damaged files
        raise InputError(f"{path}: not a readable .npz file with an array x ({error})") from None
    rows, wanted = inputs(str(path), "x", x, experiment.config.model), experiment.task.train.x
    if not len(rows) or rows.shape[1:] != wanted.shape[1:] or rows.dtype != wanted.dtype:
        raise InputError(
            f"{path}: x must hold examples of shape {wanted.shape[1:]} in {wanted.dtype}, got {rows.dtype} of shape"
            f" {rows.shape}"
        )
    return rows
