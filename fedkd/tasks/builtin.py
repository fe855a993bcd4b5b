"""Which built-in models suit which inputs; Keras is imported when a model is built, not when a task is loaded."""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fedkd.base.encoder import Encoder
from fedkd.base.errors import InputError
from fedkd.config.config import Scalar
from fedkd.config.model import ModelConfig

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


@dataclass(frozen=True)
class FirstLayers:
    """Builds a model of a pretrained encoder's first layers, see ``fedkd.models.encoder``.

    Args:
        encoder: Which.
        layers: How many of its layers.
        steps: Words of a text.
        outputs: Of the head.
        frozen: How many of the layers stay as they are, with the tables below them; None where nothing does.
        history: See there.
    """

    encoder: Encoder
    layers: int
    steps: int
    outputs: int
    frozen: int | None = None
    history: int = 0

    def __call__(self) -> "keras.Model":
        """Build it.

        Raises:
            InputError: More layers should stay as they are than it has; a model that nobody trains is never built.
        """
        if (self.frozen or 0) > self.layers:
            raise InputError(
                f"model.freeze must leave at most all layers of a model as they are: one that is trained has"
                f" {self.layers}, got 'embedding+{self.frozen}'"
            )
        module = importlib.import_module("fedkd.models.encoder")
        model = module.first_layers(self.encoder, self.layers, self.steps, self.outputs, self.history)
        return model if self.frozen is None else module.freeze(model, self.frozen)


def first_layers(
    source: str, steps: int, outputs: int, encoder: Encoder, models: ModelConfig, history: int = 0
) -> tuple[Builder, Builder, Mapping[str, Scalar]]:
    """Make teacher and student of a pretrained encoder's first layers, as Wu et al. 2022 do.

    Args:
        source: Where the examples come from, for messages.
        steps: Words of a text.
        outputs: Number of classes or labels, or of candidates where there is a history.
        encoder: Whose layers.
        models: How many of them each has.
        history: See ``fedkd.models.encoder``.

    Returns:
        Builder of the teacher, of the student, and the settings that suit them.

    Raises:
        InputError: It has fewer layers than asked for.
    """
    wanted = {"teacher": models.teacher_layers or encoder.layers, "student": models.student_layers or _STUDENT_LAYERS}
    for role, layers in wanted.items():
        if layers > encoder.layers:
            raise InputError(
                f"{source}: model.{role}_layers must be at most {encoder.layers}, as many as model.pretrained has, got"
                f" {layers}"
            )
    frozen = models.frozen_layers
    teacher, student = (FirstLayers(encoder, layers, steps, outputs, frozen, history) for layers in wanted.values())
    return teacher, student, _DEFAULTS["encoder"]


def news_models(
    history: int, candidates: int, steps: int, words: int, models: ModelConfig
) -> tuple[Builder, Builder, Mapping[str, Scalar]]:
    """Make teacher and student that rank news, see ``fedkd.models.news``.

    Args:
        history: Titles that were clicked.
        candidates: Titles to be ranked.
        steps: Words of a title.
        words: Size of the vocabulary.
        models: Widths, where the user sets them.

    Returns:
        Builder of the teacher, of the student, and the settings that suit them.
    """
    sizes = history, candidates, steps, words
    teacher = builder("news", "teacher", *sizes, width=models.teacher_width)
    student = builder("news", "student", *sizes, width=models.student_width)
    return teacher, student, _DEFAULTS["transformer"]


_STUDENT_LAYERS = 2
_DEFAULTS: dict[str, Mapping[str, Scalar]] = {
    "cnn": {"train.student_lr": 2e-3},
    "dense": {"train.epochs": 2, "train.student_lr": 4e-3, "train.decay": 0.2},
    "spectral": {"train.student_lr": 4e-3, "train.decay": 0.2},
    "temporal": {"train.epochs": 3, "train.teacher_lr": 2e-3, "train.student_lr": 4e-3, "train.decay": 0.2},
    "encoder": {
        "train.batch_size": 16,
        "train.teacher_lr": 1e-4,
        "train.student_lr": 1e-4,
        "edge.finish_rounds": 1,
        "edge.sparsity": 0.0,
        "edge.words": "used",
        "edge.precisions": "float32 float16 dynamic int4 int8",
    },
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
