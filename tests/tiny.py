"""A task of the tests' own, small enough to train in a blink: `tests.tiny:task`."""

import os
from dataclasses import replace

import keras
import numpy as np
from keras import layers

from fedkd.data.dataset import Dataset
from fedkd.objectives.classification import Classification
from fedkd.objectives.metric import Metric
from fedkd.tasks.task import Task


def examples(count, seed):
    """Three kinds of stripes on 6 x 6 pixels, with noise."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, count).astype(np.int32)
    ramp = np.arange(6)
    pictures = np.stack([np.tile(ramp % 2, (6, 1)), np.tile(ramp[:, None] % 2, (1, 6)), (ramp + ramp[:, None]) % 2])
    x = pictures[y] + rng.normal(0, 0.4, (count, 6, 6))
    return Dataset(x.astype(np.float32)[..., None], y, owners=rng.integers(0, 4, count))


def network(width):
    inputs = keras.Input((6, 6, 1))
    x = layers.Conv2D(width, 3, padding="same", use_bias=False)(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.MaxPooling2D()(layers.ReLU()(x))
    hidden = x
    x = layers.Dropout(0.1)(layers.Flatten()(x))
    return keras.Model(inputs, {"logits": layers.Dense(3)(x), "hidden": [hidden]})


def task():
    return Task(
        name="tiny",
        classes=("vertical", "horizontal", "checks"),
        train=examples(120, 0),
        test=examples(60, 1),
        teacher=lambda: network(12),
        student=lambda: network(4),
        defaults={"train.batch_size": 8, "train.epochs": 2, "partition.minimum": 2, "edge.calibration": 12},
    )


class Scored(Classification):
    """Classes whose answers are judged by one more metric, of a name of its own: the largest loss of all examples."""

    @property
    def metrics(self):
        return (*super().metrics, Metric("worst", "worst loss", "nats", "lower", of=self._worst))

    def _worst(self, outputs, y):
        spread = outputs - outputs.max(-1, keepdims=True)
        return float(np.max(np.log(np.exp(spread).sum(-1)) - spread[np.arange(len(y)), y]))


def scored():
    return replace(task(), objective=Scored(task().classes))


def raising():
    """A task that passes every check and fails when its run builds the student."""
    return replace(task(), name="raising", student=lambda: 1 / 0)


def aborting():
    """A task whose run takes its process with it."""
    return replace(task(), name="aborting", student=os.abort)
