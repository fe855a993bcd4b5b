"""A task from one .npz file: x_train y_train x_test y_test classes, client_train where clients are natural."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from fedkd.base.errors import InputError
from fedkd.config.sections import ModelConfig
from fedkd.data.dataset import Dataset
from fedkd.data.words import UNKNOWN
from fedkd.tasks.builtin import builders
from fedkd.tasks.task import Task

REQUIRED = ("x_train", "y_train", "x_test", "y_test", "classes")


def load(path: Path, models: ModelConfig) -> Task:
    """Read the file and choose models by the shape and type of x.

    x as uint8 (n, height, width) or (n, height, width, channels) is an image, divided by 255; as floats (n, steps,
    channels) a window of sensor data; as integers (n, tokens) word ids, 0 padding and 1 unknown, of which those from
    ``model.vocabulary`` on become unknown.

    Raises:
        InputError: Missing or malformed file, missing arrays, or arrays of another kind.
    """
    return task_of(f"npz:{path}", str(path), read(path), models)


def task_of(name: str, source: str, arrays: Mapping[str, np.ndarray], models: ModelConfig, images: str = "cnn") -> Task:
    """Make a task of arrays as ``load`` describes them.

    Args:
        name: Of the task.
        source: Where the arrays come from, for messages.
        arrays: x_train y_train x_test y_test classes, client_train and segment_train where there are any.
        models: Sizes for the built-in models.
        images: Module of ``fedkd.models`` for examples of three axes.

    Raises:
        InputError: Arrays of another kind.
    """
    classes = tuple(str(c) for c in np.atleast_1d(arrays["classes"]))
    train, test = (_split(source, arrays, split, models) for split in ("train", "test"))
    if train.x.shape[1:] != test.x.shape[1:]:
        raise InputError(f"{source}: x_test has examples of shape {test.x.shape[1:]}, x_train of {train.x.shape[1:]}")
    words = max(int(train.x.max()), int(test.x.max())) + 1 if train.x.ndim == 2 and len(train.x) and len(test.x) else 0
    teacher, student, defaults = builders(train.x.shape[1:], len(classes), words, models, images)
    return Task(name, classes, train, test, teacher, student, defaults=defaults)


def read(path: Path, required: tuple[str, ...] = REQUIRED) -> dict[str, np.ndarray]:
    """Read the arrays of a task from a file.

    Raises:
        InputError: Missing or malformed file, or missing arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            wanted = {*REQUIRED, "client_train", "segment_train"} & set(file.files)
            arrays = {name: file[name] for name in wanted}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; --task npz:PATH takes the path of an .npz file") from None
    except Exception as error:  # numpy, zipfile and zlib raise a dozen kinds on damaged files
        raise InputError(f"{path}: not a readable .npz file of plain arrays ({error})") from None
    if missing := [name for name in required if name not in arrays]:
        raise InputError(f"{path}: arrays missing: {', '.join(missing)}; needed: {', '.join(required)}")
    return arrays


def _split(source: str, arrays: Mapping[str, np.ndarray], split: str, models: ModelConfig) -> Dataset:
    x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
    if y.ndim != 1 or not np.issubdtype(y.dtype, np.integer):
        raise InputError(f"{source}: y_{split} must be whole numbers of shape (n,), got {y.dtype} of shape {y.shape}")
    count = np.size(arrays["classes"])
    if len(y) and not 0 <= y.min() <= y.max() < count:
        worst = y.max() if y.max() >= count else y.min()
        raise InputError(f"{source}: y_{split} holds label {worst}, labels must be from 0 to {count - 1}")
    owners, segments = (arrays.get(f"{kind}_{split}") for kind in ("client", "segment"))
    return Dataset(_inputs(source, split, x, models), y.astype(np.int32), owners, segments)


def _inputs(source: str, split: str, x: np.ndarray, models: ModelConfig) -> np.ndarray:
    if x.dtype == np.uint8 and x.ndim in (3, 4):
        return (x if x.ndim == 4 else x[..., None]).astype(np.float32) / np.float32(255)
    if np.issubdtype(x.dtype, np.floating) and x.ndim in (3, 4):
        return x.astype(np.float32)
    if np.issubdtype(x.dtype, np.integer) and x.ndim == 2:
        if len(x) and x.min() < 0:
            raise InputError(f"{source}: x_{split} holds word id {x.min()}, ids must be 0 or more")
        return np.where(x < models.vocabulary, x, UNKNOWN).astype(np.int32)
    raise InputError(
        f"{source}: x_{split} must be images (uint8, or floats with 4 axes), windows (floats, 3 axes) or word ids"
        f" (integers, 2 axes), got {x.dtype} of shape {x.shape}"
    )
