"""Which built-in models suit which inputs; Keras is imported when a model is built, not when a task is loaded."""

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from fedkd.config.config import Scalar
from fedkd.config.sections import ModelConfig

if TYPE_CHECKING:
    import keras

Builder = Callable[[], "keras.Model"]


def builders(
    x: np.ndarray, outputs: int, words: int, models: ModelConfig, images: str = "cnn"
) -> tuple[Builder, Builder, Mapping[str, Scalar]]:
    """Choose teacher, student and settings by the shape and kind of examples.

    Args:
        x: Examples (n, height, width, channels) of images, (n, steps, channels) of windows, (n, features) of a table's
            rows, or whole numbers (n, tokens).
        outputs: Number of classes, labels or targets.
        words: Size of the vocabulary where an example is made of word ids.
        models: Widths, where the user sets them.
        images: Module of ``fedkd.models`` for examples of three axes.

    Returns:
        Builder of the teacher, of the student, and the settings that suit them.
    """
    shape = x.shape[1:]
    module = {3: images, 2: "temporal", 1: "dense" if x.dtype.kind == "f" else "transformer"}[len(shape)]
    first: tuple[object, ...] = (shape[0], words) if module == "transformer" else (shape,)
    teacher = builder(module, "teacher", *first, outputs, width=models.teacher_width)
    student = builder(module, "student", *first, outputs, width=models.student_width)
    return teacher, student, _DEFAULTS[module]


_DEFAULTS: dict[str, Mapping[str, Scalar]] = {
    "cnn": {"train.student_lr": 2e-3},
    "dense": {"train.epochs": 2, "train.student_lr": 4e-3, "train.decay": 0.2},
    "spectral": {"train.student_lr": 4e-3, "train.decay": 0.2},
    "temporal": {"train.epochs": 3, "train.teacher_lr": 2e-3, "train.student_lr": 4e-3, "train.decay": 0.2},
    "transformer": {"train.batch_size": 64, "train.student_lr": 2e-3, "edge.finish_rounds": 1},
}


def builder(module: str, role: str, *arguments: object, **options: int) -> Builder:
    """Return a function that builds a model of ``fedkd.models``; options of 0 are left to the model."""

    def build() -> "keras.Model":
        function = getattr(importlib.import_module(f"fedkd.models.{module}"), role)
        return function(*arguments, **{name: value for name, value in options.items() if value})

    return build
