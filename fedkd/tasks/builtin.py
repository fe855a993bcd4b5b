"""Which built-in models suit which inputs; Keras is imported when a model is built, not when a task is loaded."""

import importlib
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from fedkd.config import ModelConfig, Scalar

if TYPE_CHECKING:
    import keras

Builder = Callable[[], "keras.Model"]


def builders(
    shape: tuple[int, ...], classes: int, words: int, models: ModelConfig
) -> tuple[Builder, Builder, Mapping[str, Scalar]]:
    """Choose teacher, student and settings by the shape of an example.

    Args:
        shape: (height, width, channels) of an image, (steps, channels) of a window, or (tokens,).
        classes: Number of classes.
        words: Size of the vocabulary where the example is made of word ids.
        models: Widths, where the user sets them.

    Returns:
        Builder of the teacher, of the student, and the settings that suit them.
    """
    module = {3: "cnn", 2: "temporal", 1: "transformer"}[len(shape)]
    first: tuple[object, ...] = (shape[0], words) if module == "transformer" else (shape,)
    teacher = _builder(module, "teacher", (*first, classes), models.teacher_width)
    return teacher, _builder(module, "student", (*first, classes), models.student_width), _DEFAULTS[module]


_DEFAULTS: dict[str, Mapping[str, Scalar]] = {
    "cnn": {"train.student_lr": 2e-3},
    "temporal": {"train.epochs": 2, "train.student_lr": 2e-3},
    "transformer": {},
}


def _builder(module: str, role: str, arguments: tuple[object, ...], width: int) -> Builder:
    def build() -> "keras.Model":
        function = getattr(importlib.import_module(f"fedkd.models.{module}"), role)
        return function(*arguments, **({"width": width} if width else {}))

    return build
