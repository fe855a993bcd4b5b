"""A task from a data set of Hugging Face, by its name or from a folder it was saved to (extra ``datasets``)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from fedkd.base.errors import InputError
from fedkd.config.config import Scalar
from fedkd.config.model import ModelConfig
from fedkd.tasks import npz
from fedkd.tasks.task import Task

TEST_SHARE = 0.2
DEFAULTS: Mapping[str, Scalar] = {"partition.library": "flwr_datasets"}

# Where types leave a choice, a column of one of these names is taken.
_LABEL_NAMES = ("label", "labels", "target", "class", "y")
_TEXT_NAMES = ("text", "sentence", "content")


def load(name: str, models: ModelConfig) -> Task:
    """Load a data set, find its inputs and labels by their types, and choose models by the shape of the inputs.

    Images are taken as they are, texts as word ids of a vocabulary of the training texts, arrays as they are in an
    .npz. The test set is the split ``test``, else ``validation``, else a fifth of each class of ``train``.

    Args:
        name: ``NAME``, ``NAME:CONFIG`` or a folder that ``save_to_disk`` wrote; then ``#LABEL`` or ``#LABEL,INPUT``
            where types leave a choice of columns.
        models: Sizes for the built-in models.

    Raises:
        InputError: The extra isn't installed, there is no such data set, or its columns don't suit.
    """
    task_name = f"hf:{name}"
    place, _, columns = name.partition("#")
    asked_label, _, asked_input = columns.partition(",")
    splits = _read(task_name, place)
    features = splits["train"].features
    label = _column(task_name, "label", _label_columns(features), asked_label, features)
    if label not in _of_kind(features, "ClassLabel", "Value"):
        kind = type(features[label]).__name__
        raise InputError(f"task {task_name!r}: column {label!r} must hold one class an example, got a {kind}")
    inputs = _column(task_name, "input", _input_columns(features, label), asked_input, features)
    train, test = _train_and_test(task_name, splits, label)
    for split, data in (("training", train), ("test", test)):
        if not len(data):
            raise InputError(f"task {task_name!r}: the {split} split has no examples")
    classes = _classes(train, label)
    kind = "text" if inputs in _texts(train.features) else "x"
    x_train, x_test = _inputs(task_name, train, test, inputs)
    arrays = {
        "classes": np.array(list(classes.values())),
        f"{kind}_train": x_train,
        "y_train": _labels(task_name, train, label, classes),
        f"{kind}_test": x_test,
        "y_test": _labels(task_name, test, label, classes),
    }
    task = npz.task_of(task_name, task_name, arrays, models)
    return replace(task, defaults={**task.defaults, **DEFAULTS})


def _read(task: str, place: str) -> Mapping[str, Any]:
    try:
        import datasets
    except ImportError:
        raise InputError(f"task {task!r} needs Hugging Face's datasets: pip install 'fedkd[datasets]'") from None
    try:
        found = datasets.load_from_disk(place) if Path(place).is_dir() else datasets.load_dataset(*place.split(":"))
    except Exception as error:  # the hub, the disk and the data set's own rules fail in many ways
        raise InputError(f"task {task!r} can't be loaded: {' '.join(str(error).split())}") from None
    splits = {"train": found} if isinstance(found, datasets.Dataset) else found
    if "train" not in splits:
        raise InputError(f"task {task!r} must have a split 'train', got {', '.join(splits)}")
    return splits


def _label_columns(features: Mapping[str, Any]) -> list[str]:
    return _of_kind(features, "ClassLabel") or [name for name in _LABEL_NAMES if name in features][:1]


def _input_columns(features: Mapping[str, Any], label: str) -> list[str]:
    """Images before arrays before texts; of the texts one that is called so."""
    rest = {name: feature for name, feature in features.items() if name != label}
    texts = _texts(rest)
    arrays = _of_kind(rest, "Array2D", "Array3D", "List", "Sequence")
    return _of_kind(rest, "Image") or arrays or [name for name in _TEXT_NAMES if name in texts][:1] or texts


def _texts(features: Mapping[str, Any]) -> list[str]:
    return [name for name, feature in features.items() if getattr(feature, "dtype", "") in ("string", "large_string")]


def _of_kind(features: Mapping[str, Any], *kinds: str) -> list[str]:
    return [name for name, feature in features.items() if type(feature).__name__ in kinds]


def _column(task: str, role: str, found: Sequence[str], asked: str, features: Mapping[str, Any]) -> str:
    if asked in features:
        return asked
    if len(found) == 1 and not asked:
        return found[0]
    what = f"no column {asked!r}" if asked else f"{len(found)} columns that may be the {role}"
    raise InputError(f"task {task!r} has {what}; name them, hf:NAME#LABEL,INPUT, of: {', '.join(features)}")


def _train_and_test(task: str, splits: Mapping[str, Any], label: str) -> tuple[Any, Any]:
    for name in ("test", "validation"):
        if name in splits:
            return splits["train"], splits[name]
    from sklearn.model_selection import train_test_split

    whole = splits["train"]
    try:
        train, test = train_test_split(
            np.arange(len(whole)), test_size=TEST_SHARE, stratify=whole[label][:], random_state=0
        )
    except ValueError as error:
        raise InputError(f"task {task!r} has no split 'test', and none can be cut off: {error}") from None
    return whole.select(np.sort(train)), whole.select(np.sort(test))


def _classes(train: Any, label: str) -> dict[Any, str]:
    """Names of the classes by the values that stand for them, in order."""
    feature = train.features[label]
    if hasattr(feature, "names"):
        return dict(enumerate(feature.names))
    return {value: str(value) for value in sorted({value for value in train[label] if value is not None})}


def _labels(task: str, data: Any, label: str, classes: Mapping[Any, str]) -> np.ndarray:
    ids = {value: i for i, value in enumerate(classes)}
    values = data[label][:]
    if unknown := sorted({str(value) for value in values if value not in ids}):
        raise InputError(f"task {task!r}: column {label!r} holds {unknown[0]}, which is no class of the training split")
    return np.array([ids[value] for value in values], np.int32)


def _inputs(task: str, train: Any, test: Any, column: str) -> tuple[np.ndarray, np.ndarray]:
    if column in _of_kind(train.features, "Image"):
        first = next(iter(_pictures(task, train, column))).mode
        mode = "L" if first in ("1", "L") else "RGB"
        return _images(task, train, column, mode), _images(task, test, column, mode)
    if column in _texts(train.features):
        first, second = (np.array([text or "" for text in data[column]], object) for data in (train, test))
        return first, second
    return np.array(train.with_format("numpy")[column][:]), np.array(test.with_format("numpy")[column][:])


def _pictures(task: str, data: Any, column: str) -> Iterator[Any]:
    for row, picture in enumerate(data[column]):
        if picture is None:
            raise InputError(f"task {task!r}: column {column!r} has no image in row {row}; filter such rows out first")
        yield picture


def _images(task: str, data: Any, column: str, mode: str) -> np.ndarray:
    pictures = [np.asarray(picture.convert(mode)) for picture in _pictures(task, data, column)]
    if len(shapes := {picture.shape for picture in pictures}) > 1:
        raise InputError(f"task {task!r}: images must all have one size, got {len(shapes)} sizes; resize them first")
    return np.stack(pictures)
