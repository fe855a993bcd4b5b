"""The bundled task: scikit-learn's handwritten digits, 1 797 images of 8x8 pixels."""

from dataclasses import replace

import numpy as np

from fedkd.config import ModelConfig
from fedkd.data.dataset import Dataset
from fedkd.tasks.builtin import builders
from fedkd.tasks.task import Task

TEST_SHARE = 0.2


def load(models: ModelConfig) -> Task:
    """Load the digits, 20 % of each class as test set, always the same ones."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x = (digits.images / 16.0).astype(np.float32)[..., None]
    y = digits.target.astype(np.int32)
    train, test = train_test_split(np.arange(len(y)), test_size=TEST_SHARE, stratify=y, random_state=0)
    sizes = replace(models, teacher_width=models.teacher_width or 32)
    teacher, student, defaults = builders(x.shape[1:], 10, 0, sizes)
    return Task(
        name="digits",
        classes=tuple("0123456789"),
        train=Dataset(x[train], y[train]),
        test=Dataset(x[test], y[test]),
        teacher=teacher,
        student=student,
        defaults={**defaults, "train.epochs": 3},
    )
