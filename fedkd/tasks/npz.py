"""A task from one .npz file: x_train y_train x_test y_test, names, and client_train where clients are natural."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from fedkd.base.encoder import read_encoder
from fedkd.base.errors import InputError
from fedkd.config.model import ModelConfig
from fedkd.data.dataset import Dataset, check_finite
from fedkd.data.ranges import check_alike
from fedkd.data.standardise import Standardisation
from fedkd.data.words import UNKNOWN
from fedkd.objectives.classification import Classification
from fedkd.objectives.multi_label import MultiLabel
from fedkd.objectives.objective import Objective
from fedkd.objectives.regression import Regression
from fedkd.tasks import texts
from fedkd.tasks.builtin import builders, first_layers
from fedkd.tasks.task import Task

REQUIRED = ("x_train", "y_train", "x_test", "y_test")
_CHANNELS = (1, 3, 4)  # of pictures
_MOST_UNKNOWN = 0.1  # of the words
_OPTIONAL = ("classes", "targets", "client_train", "segment_train", "text_train", "text_test")


def load(path: Path, models: ModelConfig) -> Task:
    """Read the file and choose models by the shape and type of x, and the objective by those of y.

    x as uint8 (n, height, width) or (n, height, width, channels) is an image, divided by 255; as floats (n, steps,
    channels) a window of sensor data; as floats (n, features) a row of a table, standardised on the training rows; as
    integers (n, tokens) word ids, 0 padding and 1 unknown, of which those from ``model.vocabulary`` on become unknown.
    Instead of x there may be ``text_train`` and ``text_test``, texts (n,) of characters or of UTF-8; with
    ``model.pretrained`` they are cut by its tokenizer, and where there are none x holds ids of that.

    y as integers (n,) is a class, named by ``classes``; as 0 or 1 (n, labels) it says which of the ``classes`` an
    example has; as floats (n,) or (n, targets) it is numbers, named by ``targets`` where there are names.

    Raises:
        InputError: Missing or malformed file, missing arrays, or arrays of another kind.
    """
    return task_of(f"npz:{path}", str(path), read(path), models)


def task_of(name: str, source: str, arrays: Mapping[str, np.ndarray], models: ModelConfig, images: str = "cnn") -> Task:
    """Make a task of arrays as ``load`` describes them.

    Args:
        name: Of the task.
        source: Where the arrays come from, for messages.
        arrays: x_train y_train x_test y_test, or texts for x, and classes or targets; client_train, segment_train
            where there are any.
        models: Sizes for the built-in models.
        images: Module of ``fedkd.models`` for examples of three axes.

    Raises:
        InputError: Arrays of another kind.
    """
    objective, encoder = _objective(source, arrays), None
    if models.pretrained:
        encoder = read_encoder(Path(models.pretrained))
        arrays = texts.in_pieces(source, arrays, encoder)
    elif not {"x_train", "x_test"} <= arrays.keys():
        arrays = texts.in_words(source, arrays, models)
    check_alike(source, arrays["x_train"], arrays["x_test"])
    known = models if encoder is None else ModelConfig(vocabulary=encoder.vocabulary)
    train, test = (_split(source, arrays, split, objective, known) for split in ("train", "test"))
    if train.x.shape[1:] != test.x.shape[1:]:
        raise InputError(f"{source}: x_test has examples of shape {test.x.shape[1:]}, x_train of {train.x.shape[1:]}")
    inputs = None
    if train.x.ndim == 2 and train.x.dtype.kind == "f" and len(train):
        inputs = Standardisation.of(train.x)
        train, test = (replace(data, x=inputs.apply(data.x)) for data in (train, test))
    ids = train.x.dtype.kind == "i" and len(train.x) and len(test.x)
    words = max(int(train.x.max()), int(test.x.max())) + 1 if ids else 0
    if encoder is None:
        teacher, student, defaults = builders(train.x, len(objective.names), words, models, images)
    else:
        teacher, student, defaults = first_layers(source, train.x.shape[1], len(objective.names), encoder, models)
        words = encoder.vocabulary
    return Task(name, (), train, test, teacher, student, None, defaults, objective, inputs=inputs, words=words)


def _objective(source: str, arrays: Mapping[str, np.ndarray]) -> Objective:
    """Tell by the training targets what is learned."""
    y = arrays["y_train"]
    given = arrays.get("classes", np.array([], str))
    if given.ndim > 1 or (given.ndim == 0 and given.dtype.kind in "iuf"):
        raise InputError(f"{source}: classes must be the names of the classes, a text for each, got {given}")
    names = tuple(str(name) for name in np.atleast_1d(given))
    if y.dtype.kind == "f" and y.ndim in (1, 2):
        if names:
            raise InputError(
                f"{source}: y_train holds {y.dtype}, so it is numbers to be predicted, and classes names {len(names)}"
                " classes: make y_train whole numbers, or leave classes out (targets names numbers)"
            )
        return _regression(source, arrays, y if y.ndim == 2 else y[:, None])
    if not names:
        raise InputError(f"{source}: arrays missing: classes; it names each class, or each label")
    return MultiLabel(names) if y.ndim == 2 else Classification(names)


def _regression(source: str, arrays: Mapping[str, np.ndarray], y: np.ndarray) -> Regression:
    count = y.shape[1]
    names = tuple(str(name) for name in np.atleast_1d(arrays["targets"])) if "targets" in arrays else ()
    if names and len(names) != count:
        raise InputError(f"{source}: targets must name the {count} columns of y_train, got {len(names)} names")
    names = names or (("target",) if count == 1 else tuple(f"target {i}" for i in range(count)))
    checked = Regression(names).check_target(f"{source}: y_train", y)
    return Regression.standardised(names, checked) if len(checked) else Regression(names)


def read(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a task from a file.

    Raises:
        InputError: Missing or malformed file, or missing arrays.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            wanted = {*REQUIRED, *_OPTIONAL} & set(file.files)
            arrays = {name: file[name] for name in wanted}
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; --task npz:PATH takes the path of an .npz file") from None
    except Exception as error:  # numpy, zipfile and zlib raise a dozen kinds on damaged files
        raise InputError(f"{path}: not a readable .npz file of plain arrays ({error})") from None
    given = {name.replace("text_", "x_") for name in arrays}
    if missing := [name for name in REQUIRED if name not in given]:
        raise InputError(f"{path}: arrays missing: {', '.join(missing)}; needed: {', '.join(REQUIRED)}")
    return arrays


def _split(
    source: str, arrays: Mapping[str, np.ndarray], split: str, objective: Objective, models: ModelConfig
) -> Dataset:
    y = objective.check_target(f"{source}: y_{split}", arrays[f"y_{split}"])
    owners, segments = (arrays.get(f"{kind}_{split}") for kind in ("client", "segment"))
    return Dataset(_inputs(source, split, arrays[f"x_{split}"], models), y, owners, segments)


def _inputs(source: str, split: str, x: np.ndarray, models: ModelConfig) -> np.ndarray:
    _check_channels(source, f"x_{split}", x)
    if x.dtype == np.uint8 and x.ndim in (3, 4):
        return (x if x.ndim == 4 else x[..., None]).astype(np.float32) / np.float32(255)
    if np.issubdtype(x.dtype, np.floating) and x.ndim in (2, 3, 4):
        check_finite(f"{source}: x_{split}", x)
        return x.astype(np.float32)
    if np.issubdtype(x.dtype, np.integer) and x.ndim == 2:
        if len(x) and x.min() < 0:
            raise InputError(f"{source}: x_{split} holds word id {x.min()}, ids must be 0 or more")
        return _known(source, f"x_{split}", x, models)
    raise InputError(
        f"{source}: x_{split} must be images (uint8, or floats with 4 axes), windows (floats, 3 axes), rows of a table"
        f" (floats, 2 axes) or word ids (integers, 2 axes), got {x.dtype} of shape {x.shape}"
    )


def _check_channels(source: str, name: str, x: np.ndarray) -> None:
    """Refuse pictures whose channels come first: they would pass for some that are three pixels high."""
    if x.ndim == 4 and x.shape[1] in _CHANNELS and x.shape[3] not in _CHANNELS and min(x.shape[2:]) > max(_CHANNELS):
        raise InputError(
            f"{source}: {name} of shape {x.shape} seems to have its channels first; images are (n, height, width,"
            f" channels): {name}.transpose(0, 2, 3, 1)"
        )


def _known(source: str, name: str, x: np.ndarray, models: ModelConfig) -> np.ndarray:
    """Word ids, int32, in which those beyond the vocabulary are unknown.

    Raises:
        InputError: They are so many that the ids must be of another vocabulary, and nobody said that they may be.
    """
    beyond = x >= models.words
    share = float(beyond.sum() / max(1, np.count_nonzero(x)))
    if share > _MOST_UNKNOWN and not models.vocabulary:
        raise InputError(
            f"{source}: {share:.3f} of the words in {name} have ids beyond the vocabulary of {models.words}, at most"
            f" {_MOST_UNKNOWN} become unknown unasked; the largest is {int(x.max())}: set model.vocabulary, to"
            f" {int(x.max()) + 1} for all"
        )
    return np.where(beyond, UNKNOWN, x).astype(np.int32)
