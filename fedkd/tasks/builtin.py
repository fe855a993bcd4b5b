"""Which built-in models suit which inputs; Keras is imported when a model is built, not when a task is loaded."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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


@dataclass(frozen=True, eq=False)
class BuiltIn:
    """Builds a model of ``fedkd.models``.

    Args:
        module: Which of them.
        role: The module's function, ``teacher`` or ``student``.
        arguments: Of that function.
        options: By their names; those of 0 are left to the model.
    """

    module: str
    role: str
    arguments: tuple[object, ...]
    options: Mapping[str, int]

    def __call__(self) -> "keras.Model":
        """Build it."""
        function = getattr(importlib.import_module(f"fedkd.models.{self.module}"), self.role)
        return function(*self.arguments, **{name: value for name, value in self.options.items() if value})

    def at_width(self, width: int) -> "BuiltIn":
        """Return what builds the same at another width."""
        return replace(self, options={**self.options, "width": width})


def builder(module: str, role: str, *arguments: object, **options: int) -> BuiltIn:
    """Return what builds a model of ``fedkd.models``; options of 0 are left to the model."""
    return BuiltIn(module, role, arguments, options)
