"""The bundled task: scikit-learn's handwritten digits, 1 797 images of 8x8 pixels."""

import numpy as np

from fedkd.config.config import Scalar
from fedkd.config.model import ModelConfig
from fedkd.data.augment import shift_images
from fedkd.data.dataset import Dataset
from fedkd.tasks.builtin import builder
from fedkd.tasks.task import Task

TEST_SHARE = 0.2

# 1 437 examples are few: little is held out, and learning rates fall, so that teachers settle on what all clients know.
DEFAULTS: dict[str, Scalar] = {
    "train.epochs": 4,
    "train.teacher_lr": 3e-3,
    "train.student_lr": 1e-2,
    "train.decay": 0.1,
    "train.holdout": 0.05,
    "loss.temperature": 4.0,
    "edge.calibration": 32,
}


def load(models: ModelConfig) -> Task:
    """Load the digits, 20 % of each class as test set, always the same ones."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    x = (digits.images / 16.0).astype(np.float32)[..., None]
    y = digits.target.astype(np.int32)
    train, test = train_test_split(np.arange(len(y)), test_size=TEST_SHARE, stratify=y, random_state=0)
    shape = x.shape[1:]
    return Task(
        name="digits",
        classes=tuple("0123456789"),
        train=Dataset(x[train], y[train]),
        test=Dataset(x[test], y[test]),
        teacher=builder("cnn", "teacher", shape, 10, width=models.teacher_width or 32, dense=256),
        student=builder("cnn", "student", shape, 10, width=models.student_width),
        augment=shift_images,
        defaults=DEFAULTS,
    )
