"""Public data sets with the teacher and the student chosen for each; a new one is an entry of ``_ALL``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from fedkd.base.errors import InputError
from fedkd.config.config import Scalar
from fedkd.config.model import ModelConfig
from fedkd.tasks import npz, uci_har
from fedkd.tasks.keras_datasets import download
from fedkd.tasks.mind import Mind
from fedkd.tasks.smm4h import Smm4h
from fedkd.tasks.task import Task

Arrays = dict[str, np.ndarray]
# Axes and kind of dtype of what tasks hold as examples.
_KINDS = {"images": (4, "f"), "windows": (3, "f"), "words": (2, "i")}


class Named(Protocol):
    """A task with a name of its own, of data that a user has or that can be downloaded."""

    @property
    def name(self) -> str:
        """As in ``--task``."""
        ...

    @property
    def summary(self) -> str:
        """What it is, one line."""
        ...

    @property
    def where(self) -> str:
        """What ``--data`` takes, and where the data come from."""
        ...

    def load(self, data: str, models: ModelConfig) -> Task:
        """Read the data and choose the models."""
        ...


@dataclass(frozen=True)
class NamedTask:
    """A public data set, and the sizes and settings that suit it.

    Args:
        name: As in ``--task``.
        summary: What it is, one line.
        where: Which file ``--data`` takes, and where the data come from.
        classes: Name of each class, for files that name none.
        teacher_width: Of the built-in model for the shape of its examples; 0 leaves it to the model.
        student_width: As above.
        examples: What an example is: ``images``, ``windows`` or ``words``.
        images: Module of ``fedkd.models`` for images.
        settings: Defaults of an experiment beside those of the built-in model.
        download: Fetches the arrays of the task of a name; None where a file must be given.
        read_zip: Reads the data set's own zip; None where only an .npz is read.
    """

    name: str
    summary: str
    where: str
    classes: tuple[str, ...]
    teacher_width: int = 0
    student_width: int = 0
    examples: str = "images"
    images: str = "cnn"
    settings: Mapping[str, Scalar] = field(default_factory=dict)
    download: Callable[[str], Arrays] | None = None
    read_zip: Callable[[Path], Arrays] | None = None

    def load(self, data: str, models: ModelConfig) -> Task:
        """Read the data from a file, or download them, and choose the models.

        Args:
            data: The file; empty for a download.
            models: Widths, where the user sets them.

        Raises:
            InputError: No file is given or it can't be read, or the data are of another task.
        """
        arrays = {"classes": np.array(self.classes), **self._arrays(data)}
        sized = models
        if not models.pretrained:
            teacher, student = models.teacher_width or self.teacher_width, models.student_width or self.student_width
            sized = replace(models, teacher_width=teacher, student_width=student)
        task = npz.task_of(self.name, data or self.name, arrays, sized, self.images)
        if (task.train.x.ndim, task.train.x.dtype.kind) != _KINDS[self.examples]:
            x = arrays.get("x_train", task.train.x)
            found = f"{x.dtype} of shape {x.shape}"
            raise InputError(f"{data}: x_train must be {self.examples} for task {self.name!r}, got {found}")
        if len(task.classes) != len(self.classes):
            raise InputError(f"{data}: task {self.name!r} has {len(self.classes)} classes, got {len(task.classes)}")
        if task.objective.kind != "classification":
            raise InputError(f"{data}: y_train must be one class per example for task {self.name!r}")
        return replace(task, defaults={**task.defaults, **self.settings})

    def _arrays(self, data: str) -> Arrays:
        path = Path(data)
        if not data and self.download is not None:
            return self.download(self.name)
        if not data:
            raise InputError(f"task {self.name!r} needs a file, give --data FILE: {self.where}")
        if not path.is_file():
            raise InputError(f"{data}: no such file; task {self.name!r} takes {self.where}")
        if self.read_zip is not None and path.suffix == ".zip":
            return self.read_zip(path)
        return npz.read(path)


_NATURAL: dict[str, Scalar] = {"partition.kind": "natural"}
_DOWNLOAD = "downloaded by Keras, or --data its .npz"
_HOW = "see docs/data.md"
_DIGITS = tuple("0123456789")
_CLOTHES = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_PICTURES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_ACTIVITIES = ("WALKING", "WALKING_UPSTAIRS", "WALKING_DOWNSTAIRS", "SITTING", "STANDING", "LAYING")

_ALL = (
    NamedTask(
        "fashion_mnist",
        "clothes, 28x28 pixels, 10 classes",
        _DOWNLOAD,
        _CLOTHES,
        teacher_width=32,
        student_width=32,
        download=download,
    ),
    NamedTask(
        "mnist",
        "handwritten digits, 28x28 pixels, 10 classes",
        _DOWNLOAD,
        _DIGITS,
        teacher_width=32,
        student_width=16,
        download=download,
    ),
    NamedTask(
        "cifar10",
        "photographs, 32x32 pixels in colour, 10 classes",
        _DOWNLOAD,
        _PICTURES,
        teacher_width=64,
        student_width=32,
        download=download,
    ),
    NamedTask(
        "uci_har",
        "activity from a phone's sensors, 128 steps of 9 channels, 6 classes; clients are people",
        "UCI HAR Dataset.zip as downloaded from https://archive.ics.uci.edu/dataset/240, or an .npz",
        _ACTIVITIES,
        teacher_width=64,
        student_width=32,
        examples="windows",
        settings=_NATURAL,
        read_zip=uci_har.read,
    ),
    NamedTask(
        "fsdd",
        "spoken digits, log-mel spectra of 49x40, 10 classes; clients are speakers",
        "an .npz with uint8 spectra and client_train, made from the recordings of the Free Spoken Digit Dataset,"
        f" https://github.com/Jakobovski/free-spoken-digit-dataset, {_HOW}",
        _DIGITS,
        teacher_width=32,
        student_width=16,
        images="spectral",
        settings={**_NATURAL, "train.epochs": 3},  # speakers have 450 recordings each
    ),
    NamedTask(
        "ade",
        "does a sentence of a medical report tell of an adverse drug event, 2 classes",
        f"an .npz of word ids made from ade_corpus_v2 (its classification part) of Hugging Face, {_HOW}",
        ("no_ADE", "ADE"),
        teacher_width=128,
        student_width=32,
        examples="words",
    ),
    NamedTask(
        "sms_spam",
        "is a short message spam, 2 classes",
        f"an .npz of word ids made from sms_spam of Hugging Face, {_HOW}",
        ("ham", "spam"),
        teacher_width=128,
        student_width=32,
        examples="words",
    ),
    NamedTask(
        "trec6",
        "what kind of answer a question asks for, 6 classes",
        f"an .npz of word ids made from trec (its coarse labels) of Hugging Face, {_HOW}",
        ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM"),
        teacher_width=128,
        student_width=32,
        examples="words",
    ),
)

NAMED: Mapping[str, Named] = {task.name: task for task in (*_ALL, Smm4h(), Mind())}
