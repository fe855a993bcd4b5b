"""The work that engines are compared on: small convolutional networks, 160 images of 28x28 pixels per client.

FLOP of a training step are counted as two per multiply-add, three passes (forward, gradient of the inputs, gradient of
the weights) but for the first layer, whose inputs need no gradient.
"""

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fedkd.config.config import Scalar
from fedkd.data.dataset import Dataset
from fedkd.tasks.task import Task
from sims.bench import text

if TYPE_CHECKING:
    import keras

BATCHES, BATCH = 5, 32
EXAMPLES = BATCHES * BATCH
_TEST = 256
_SIDE, _CLASSES = 28, 10
STUDENT = ((16, 32), 0)
TEACHER = ((32, 64), 128)

_COMMON: dict[str, Scalar] = {
    "train.epochs": 1,
    "train.batch_size": BATCH,
    "train.optimizer": "sgd",
    "train.teacher_lr": 0.01,
    "train.student_lr": 0.01,
    "train.holdout": 0.0,
    "edge.sparsity": 0.0,
    "edge.calibration": 1,
    "edge.precisions": "none",
}
SETTINGS: dict[str, dict[str, Scalar]] = {
    "fedavg": {**_COMMON, "method": "fedavg_student"},
    "fedkd": {**_COMMON, "method": "no_hidden"},
}


def network(filters: tuple[int, int], dense: int) -> "keras.Model":
    """Two convolutions with poolings, a hidden dense layer where ``dense`` > 0, and logits."""
    import keras
    from keras import layers

    stack: list[keras.layers.Layer] = [keras.Input((_SIDE, _SIDE, 1))]
    for count in filters:
        stack += [layers.Conv2D(count, 3, padding="same", activation="relu"), layers.MaxPooling2D()]
    stack += [layers.Flatten(), *([layers.Dense(dense, activation="relu")] if dense else []), layers.Dense(_CLASSES)]
    return keras.Sequential(stack)


def mflop(filters: tuple[int, int], dense: int) -> float:
    """Million floating-point operations of training on one image."""
    first = _SIDE**2 * 9 * filters[0]
    second = (_SIDE // 2) ** 2 * 9 * filters[0] * filters[1]
    flat = (_SIDE // 4) ** 2 * filters[1]
    head = flat * dense + dense * _CLASSES if dense else flat * _CLASSES
    return 2 * (3 * (first + second + head) - first) / 1e6


def client_mflop(work: str) -> float:
    """Million floating-point operations of one client in one round.

    >>> round(client_mflop("fedavg")), round(client_mflop("fedkd"))
    (954, 4954)
    """
    if work == "text":
        return text.client_mflop()
    models = [STUDENT] if work == "fedavg" else [STUDENT, TEACHER]
    return EXAMPLES * sum(mflop(*model) for model in models)


def examples(count: int, seed: int) -> Dataset:
    """Random images, each class with a mean of its own."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, _CLASSES, count, dtype=np.int32)
    means = np.random.default_rng(0).standard_normal((_CLASSES, _SIDE, _SIDE, 1), dtype=np.float32)
    x = rng.standard_normal((count, _SIDE, _SIDE, 1), dtype=np.float32)
    x *= 0.5
    for label in range(_CLASSES):
        x[y == label] += 0.2 * means[label]
    return Dataset(x, y)


def task(clients: int, each: int = EXAMPLES) -> Task:
    """The work for a number of clients, dealt evenly (one example more, for the server's calibration)."""
    return Task(
        name=f"bench-{clients}",
        classes=tuple(str(i) for i in range(_CLASSES)),
        train=examples(clients * each + 1, 1),
        test=examples(_TEST, 2),
        teacher=partial(network, *TEACHER),
        student=partial(network, *STUDENT),
    )


def clients_10() -> Task:
    """Ten clients."""
    return task(10)


def clients_100() -> Task:
    """A hundred clients."""
    return task(100)


def clients_1000() -> Task:
    """A thousand clients."""
    return task(1000)


# The same models with two examples per client, which five epochs make into as many batches, filled up.
SCALE: dict[str, Scalar] = {**SETTINGS["fedkd"], "train.epochs": BATCHES, "partition.minimum": 2}
PARTICIPANTS = 100


def few() -> Task:
    """A hundred clients with two examples each."""
    return task(PARTICIPANTS, each=2)


def crowd() -> Task:
    """A hundred thousand clients with two examples each."""
    return task(1000 * PARTICIPANTS, each=2)
