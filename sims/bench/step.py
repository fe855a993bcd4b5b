"""``fedkd bench step``: a training step by a file in LiteRT beside TensorFlow's compiled one, on one core."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from fedkd.base.tensors import State
from fedkd.config.config import Scalar
from fedkd.data.dataset import Dataset
from fedkd.distill.trainer import Trainer
from fedkd.litert.opened import Opened
from fedkd.litert.trainer import LiteRTTrainer
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.local import content_of, keras_trainer
from fedkd.protocol.resolve import resolve
from sims.bench.report import Row
from sims.bench.timing import interleaved

STEPS = 8


def rows(rate: float, repeats: int, task: str, data: str) -> list[Row]:
    """Measure steps with the task's own optimiser, and with SGD, whose update is the gradients themselves.

    Args:
        rate: Of one core's matrix products, in 10⁹ operations a second.
        repeats: Of each measurement, by turns; the median counts.
        task: Its name; what it augments with isn't used, for both sides to train on the same examples.
        data: File of its data, if it needs one.
    """
    settings: dict[str, Scalar] = {"task": task, "data": data, "clients": 1, "partition.kind": "iid"}
    own = resolve(settings)
    found = [_row(own, rate, repeats)]
    if own.config.train.optimizer != "sgd":
        found.append(_row(resolve({**settings, "train.optimizer": "sgd"}), rate, repeats))
    return found


def _row(experiment: Experiment, rate: float, repeats: int) -> Row:
    experiment = replace(experiment, task=replace(experiment.task, augment=None))
    train = experiment.config.train
    both: Mapping[str, Trainer] = {
        "tensorflow": keras_trainer(experiment),
        "litert": LiteRTTrainer(Opened(content_of(experiment, "")), train.epochs),
    }
    before, data = both["tensorflow"].initial_state(), _examples(experiment)
    steps = STEPS * train.epochs
    after = {name: _fitted(trainer, before, data) for name, trainer in both.items()}
    taken = interleaved({name: partial(_fitted, trainer, before, data) for name, trainer in both.items()}, repeats)
    apart = {f"off_{role}": 1 - _cosine(before, after, role) for role in both["tensorflow"].roles}
    return {
        "task": experiment.task.name,
        "optimizer": train.optimizer,
        "batch": train.batch_size,
        **{f"{name}_ms": 1e3 * seconds / steps for name, seconds in taken.items()},
        "litert_over_tensorflow": taken["litert"] / taken["tensorflow"],
        "gflop": taken["litert"] / steps * rate,
        **apart,
    }


def _examples(experiment: Experiment) -> Dataset:
    """Whole batches of a task's examples, over and over where it has few."""
    wanted = STEPS * experiment.config.train.batch_size
    return experiment.task.train.take(np.arange(wanted) % len(experiment.task.train))


def _fitted(trainer: Trainer, before: State, data: Dataset) -> State:
    return trainer.fit(before, data, np.random.default_rng(0))[0]


def _cosine(before: State, after: Mapping[str, State], role: str) -> float:
    """Of the two updates of a model's weights."""
    a, b = (
        np.concatenate([(x.astype(float) - y).ravel() for x, y in zip(state[role], before[role], strict=True)])
        for state in after.values()
    )
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
