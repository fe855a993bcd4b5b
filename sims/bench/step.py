"""``fedkd bench step``: a training step by a file in LiteRT beside TensorFlow's compiled one, on one core."""

from collections.abc import Iterable, Mapping
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
STARTS = 5  # one rounding away from the weights


def rows(rate: float, repeats: int, task: str, data: str) -> list[Row]:
    """Measure steps with the task's own optimiser, and with SGD, whose update is the gradients themselves.

    Args:
        rate: Of one core's matrix products, in 10⁹ operations a second.
        repeats: Of each measurement, by turns; the median counts.
        task: Its name; what it augments with isn't used, for both sides to train on the same examples.
        data: File of its data, if it needs one.
    """
    settings: dict[str, Scalar] = {"task": task, "data": data}
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
    steps, data = STEPS * train.epochs, _examples(experiment)
    before = both["tensorflow"].initial_state()
    calls = {name: partial(_fitted, trainer, before, data) for name, trainer in both.items()}
    for call in calls.values():
        call()
    taken = interleaved(calls, repeats)
    return {
        "optimizer": train.optimizer,
        "batch": train.batch_size,
        **{f"{name}_ms": 1e3 * seconds / steps for name, seconds in taken.items()},
        "litert_over_tensorflow": taken["litert"] / taken["tensorflow"],
        "gflop": taken["litert"] / steps * rate,
        **_apart(experiment, both),
    }


def _examples(experiment: Experiment) -> Dataset:
    """Whole batches of a task's examples, over and over where it has few."""
    wanted = STEPS * experiment.config.train.batch_size
    return experiment.task.train.take(np.arange(wanted) % len(experiment.task.train))


def _fitted(trainer: Trainer, before: State, data: Dataset) -> State:
    return trainer.fit(before, data, np.random.default_rng(0))[0]


def _apart(experiment: Experiment, both: Mapping[str, Trainer]) -> Row:
    """How far the two take the first client's models apart in a whole round.

    So small differences grow, more so by Adam, which divides by small slopes. How much is told by TensorFlow itself,
    which trains again from weights that are the next number each, up or down, but for those that are 0. One such start
    may meet no near-tie where another does, so the largest difference of several counts.
    """
    data, tensorflow = experiment.client_data(0)[0], both["tensorflow"]
    before = tensorflow.initial_state()
    whole, by_file = _moved(tensorflow, before, data), _moved(both["litert"], before, data)
    beside = [_moved(tensorflow, _rounded(before, tensorflow.roles, seed), data) for seed in range(STARTS)]
    largest = {role: max(_off(whole[role], each[role]) for each in beside) for role in tensorflow.roles}
    return {
        **{f"{role}_off": _off(whole[role], by_file[role]) for role in tensorflow.roles},
        **{f"{role}_off_by_rounding": off for role, off in largest.items()},
    }


def _rounded(state: State, roles: Iterable[str], seed: int) -> State:
    """The state with each number of its models' weights one float32 further up or down, as the seed has it."""
    rng = np.random.default_rng(seed)
    return state | {role: [_neighbour(array, rng) for array in state[role]] for role in roles}


def _neighbour(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    ends = np.where(rng.random(array.shape) < 0.5, np.float32(-np.inf), np.float32(np.inf))
    return np.where(array == 0, array, np.nextafter(array, ends))


def _moved(trainer: Trainer, before: State, data: Dataset) -> dict[str, np.ndarray]:
    """The update of each model's weights, in one row."""
    after = _fitted(trainer, before, data)
    return {
        role: np.concatenate([(x.astype(float) - y).ravel() for x, y in zip(after[role], before[role], strict=True)])
        for role in trainer.roles
    }


def _off(a: np.ndarray, b: np.ndarray) -> float:
    """1 - cosine."""
    return float(1 - a @ b / np.linalg.norm(a) / np.linalg.norm(b))
