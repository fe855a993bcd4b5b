"""Training by a TFLite file in LiteRT: ``fedkd.distill.trainer.Trainer`` without TensorFlow or Keras."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from fedkd.base.tensors import State, Weights
from fedkd.data.dataset import Dataset
from fedkd.distill.batches import Schedule, steps
from fedkd.distill.class_weights import Weigh
from fedkd.distill.trainer import Augment
from fedkd.litert.opened import Opened


class LiteRTTrainer:
    """Trains a client's models by the file that ``fedkd.litert.training_file`` makes.

    Args:
        file: What it trains by.
        epochs: Passes over a client's examples.
        augment: Changes inputs (batches, size, ...) at random before each use; both models see the same.
        weigh: Gives how much each example counts in the task loss, (n,), by the targets; None where all count alike.
    """

    unrolls = True

    def __init__(
        self, file: Opened, epochs: int, augment: Augment | None = None, weigh: Weigh = lambda _: None
    ) -> None:
        self._file, self._epochs, self._augment, self._weigh = file, epochs, augment, weigh
        self._record = file.record
        self._groups: dict[str, list[str]] = {
            group: [key(group, i) for i in range(count)] for group, count in self._record["groups"].items()
        }
        self._initial = {group: [file.initial[name] for name in names] for group, names in self._groups.items()}
        self._draws = [(f"draw{i}", kind, tuple(shape)) for i, (kind, shape) in enumerate(self._record["draws"])]

    @property
    def roles(self) -> tuple[str, ...]:
        """The models that are trained."""
        return tuple(self._record["roles"])

    def trainable(self, role: str, values: Sequence[Any]) -> list[Any]:
        """Pick those of a model's trainable weights from a list in the order of all its weights."""
        return [values[i] for i in self._record["trainable"][role]]

    def initial_state(self) -> State:
        """Return the state of a client that has never trained; its arrays are everyone's, not to be changed."""
        return {group: list(arrays) for group, arrays in self._initial.items()}

    def steps_of(self, examples: int) -> int:
        """Return how many steps training takes on so many examples."""
        return steps(examples, self._record["batch"], self._epochs)

    def initial_moments(self, group: str) -> Weights:
        """Return a group's optimiser variables before the first step."""
        return list(self._initial[f"{group}.moments"])

    def fit(
        self,
        state: State,
        data: Dataset,
        rng: np.random.Generator,
        rate: float = 1.0,
        masks: Mapping[str, Weights] | None = None,
        anchors: Mapping[str, Weights] | None = None,
        corrections: Mapping[str, Weights] | None = None,
    ) -> tuple[State, dict[str, float]]:
        """Train for the configured epochs, see ``fedkd.distill.trainer.Trainer``."""
        step = self._file.runner("train")
        size, ratio = self._record["batch"], self._record["unlabelled_ratio"]
        schedule = Schedule(data, size, ratio, self._epochs, self._weigh(data.y), rng)
        given = {"masks": masks or {}, "anchors": anchors or {}, "corrections": corrections or {}}
        still = self._bounds(state, given) | {"rate": np.full(1, rate, np.float32)}
        carry = {n: np.atleast_1d(array) for group in self._groups for n, array in self._named(group, state[group])}
        losses = dict.fromkeys(self.roles, 0.0)
        for start in range(len(schedule)):
            lot = schedule.lot(start, 1)
            x = lot.x if self._augment is None else self._augment(lot.x, rng)
            drawn = {name: _drawn(kind, shape, rng) for name, kind, shape in self._draws}
            task = lot.shares if lot.task_shares is None else lot.task_shares
            found = step(**carry, **still, **drawn, x=x[0], y=lot.y[0], share=lot.shares[0], task_share=task[0])
            losses = {role: total + found.pop(f"loss_{role}").item() for role, total in losses.items()}
            carry = {name: np.atleast_1d(array) for name, array in found.items()}
        after = {
            group: [carry[name].reshape(self._initial[group][i].shape) for i, name in enumerate(names)]
            for group, names in self._groups.items()
        }
        return after, {role: total / len(schedule) for role, total in losses.items()}

    def _named(self, group: str, arrays: Weights) -> Iterable[tuple[str, np.ndarray]]:
        return zip(self._groups[group], arrays, strict=True)

    def _bounds(self, state: State, given: Mapping[str, Mapping[str, Weights]]) -> dict[str, np.ndarray]:
        """What the file wants of masks, anchors and corrections: what isn't given leaves a step as it is."""
        arrays: dict[str, np.ndarray] = {}
        for name in self._record["bounds"]:
            role, _, kind = name.partition(".")
            weights = self.trainable(role, state[role])
            found = given[kind].get(role, [_IDLE[kind](weight) for weight in weights])
            arrays |= {key(name, i): np.atleast_1d(np.float32(array)) for i, array in enumerate(found)}
        return arrays

    def logits(self, role: str, weights: Weights, x: np.ndarray, threads: int = 1) -> np.ndarray:
        """Return outputs (n, k), float32, of one model for n >= 1 inputs, whatever the number of threads."""
        named = {name: np.atleast_1d(array) for name, array in self._named(role, weights)}
        size: int = self._record["batch"]

        def batch(start: int) -> np.ndarray:
            part = x[start : start + size]
            if missing := size - len(part):
                part = np.concatenate([part, np.repeat(part[:1], missing, axis=0)])
            return self._file.runner(f"infer_{role}")(**named, x=part)["logits"][: size - missing]

        starts = range(0, len(x), size)
        if min(threads, len(starts)) == 1:
            return np.concatenate([batch(start) for start in starts])
        with ThreadPoolExecutor(threads) as pool:
            return np.concatenate(list(pool.map(batch, starts)))


# What leaves a step as it is, made of a weight.
_IDLE: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "masks": np.ones_like,
    "anchors": np.asarray,
    "corrections": np.zeros_like,
}


def key(group: str, place: int) -> str:
    """Name of an array of a state in the file: only such as TensorFlow takes for an argument."""
    return f"{group.replace('.', '_')}_{place}"


def _drawn(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw what a layer would have drawn itself."""
    if kind == "uniform":
        return rng.random(shape, np.float32)
    values = rng.standard_normal(shape, np.float32)
    while kind == "truncated_normal" and (beyond := np.abs(values) > 2).any():
        values[beyond] = rng.standard_normal(int(beyond.sum()), np.float32)
    return values
