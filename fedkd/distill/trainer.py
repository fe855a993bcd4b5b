"""Mutual training of a client's models: one compiled function, reused by every client and round."""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fedkd.config import LossConfig, TrainConfig
from fedkd.data.dataset import Dataset
from fedkd.distill.learner import Learner, Tensors
from fedkd.distill.losses import cross_entropy, mutual_losses, projection_shapes
from fedkd.distill.optimizers import OPTIMIZERS
from fedkd.models.inspect import split_outputs
from fedkd.tensors import Weights

State = dict[str, Weights]
Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]

# Batches unrolled in one compiled call. Worth it where a batch takes less than some milliseconds, that is for models
# of few tensors; for others the call costs nothing against the work, and tracing would take long.
_UNROLL = 5
_UNROLL_TENSORS = 40
_EVALUATION_BATCH = 256


class Trainer:
    """Trains a teacher and a student on each other, or one of them alone.

    Args:
        models: By role, ``teacher`` and ``student`` or one of them.
        train: Optimiser, learning rates, epochs, batch size.
        loss: Switches of the mutual losses.
        seed: Of the projection's initial values.
        augment: Changes inputs (batches, size, ...) at random before each use; both models see the same.

    A client's ``State`` maps group names to lists of arrays: each role's weights, ``projection`` (W_h), and each
    group's optimiser variables as ``GROUP.moments``.

    Raises:
        InputError: Hidden states of the two models that can't be matched.
    """

    def __init__(
        self,
        models: Mapping[str, keras.Model],
        train: TrainConfig,
        loss: LossConfig,
        seed: int,
        augment: Augment | None = None,
    ) -> None:
        self.train, self.loss, self._augment = train, loss, augment
        self.learners = {role: Learner(model) for role, model in models.items()}
        self._no_masks = {role: learner.no_masks() for role, learner in self.learners.items()}
        self._projection = self._build_projection(seed) if len(models) == 2 and loss.hidden else []
        rates = {"teacher": train.teacher_lr, "student": train.student_lr, "projection": train.teacher_lr}
        variables = {role: model.trainable_variables for role, model in models.items()}
        if self._projection:
            variables["projection"] = self._projection
        self._shapes = {group: [tuple(v.shape) for v in held] for group, held in variables.items()}
        self._optimizers = {group: OPTIMIZERS[train.optimizer](rates[group]) for group in variables}
        tensors = sum(len(shapes) for shapes in self._shapes.values())
        self._unroll = _UNROLL if tensors <= _UNROLL_TENSORS else 1
        self._step = tf.function(self._steps, autograph=False)
        self._logits = {role: learner.compiled_logits() for role, learner in self.learners.items()}
        self._traced: set[object] = set()
        self._tracing = threading.Lock()

    def _build_projection(self, seed: int) -> list[keras.Variable]:
        outputs = (split_outputs(self.learners[role].model.output) for role in ("teacher", "student"))
        glorot = keras.initializers.GlorotUniform(seed)
        return [keras.Variable(glorot(shape), dtype="float32") for shape in projection_shapes(*outputs)]

    def initial_state(self) -> State:
        """Return the state of a client that has never trained."""
        state = {role: learner.initial() for role, learner in self.learners.items()}
        state["projection"] = [keras.ops.convert_to_numpy(v) for v in self._projection]
        return state | {f"{group}.moments": self.initial_moments(group) for group in self._optimizers}

    def initial_moments(self, group: str) -> Weights:
        """Return a group's optimiser variables before the first step."""
        return self._optimizers[group].initial(sum(math.prod(shape) for shape in self._shapes[group]))

    def fit(
        self,
        state: State,
        data: Dataset,
        rng: np.random.Generator,
        rate: float = 1.0,
        masks: Mapping[str, Weights] | None = None,
    ) -> tuple[State, dict[str, float]]:
        """Train for the configured epochs.

        Args:
            state: The client's state; not changed.
            data: The client's training examples.
            rng: Draws the order of examples and the states of random layers.
            rate: Multiplies all learning rates, for their decay over the rounds.
            masks: By role, a 0/1 array for each trainable weight, which is multiplied after each step.

        Returns:
            The state after training, and the mean loss of each role.
        """
        rows, shares = batches(len(data), self.train.batch_size, self.train.epochs, rng)
        seeds = {role: learner.seeds(rng) for role, learner in self.learners.items()}
        full = self._no_masks | dict(masks or {})
        tensors = tf.nest.map_structure(tf.convert_to_tensor, (state, seeds, full))
        carry, full, start, losses = tensors[:2], tensors[2], 0, []
        scale = tf.constant(rate, tf.float32)
        while start < len(rows):
            count = self._unroll if len(rows) - start >= self._unroll else 1
            take = rows[start : start + count]
            x = data.x[take] if self._augment is None else self._augment(data.x[take], rng)
            batch = (x, data.y[take], shares[start : start + count])
            carry, loss = self._compiled(self._step, carry, full, scale, *map(tf.convert_to_tensor, batch))
            losses.append(loss)
            start += count
        after = tf.nest.map_structure(np.asarray, carry[0])
        mean = {role: float(sum(loss[role].numpy() for loss in losses)) / len(rows) for role in self.learners}
        return after, mean

    def logits(self, role: str, weights: Weights, x: np.ndarray) -> np.ndarray:
        """Return logits (n, classes) of one model for n >= 1 inputs, in batches of one size: one compilation."""
        learner = self.learners[role]
        values = tf.nest.map_structure(tf.convert_to_tensor, weights)
        seeds = [tf.convert_to_tensor(s) for s in learner.seeds(np.random.default_rng(0))]
        parts = []
        for start in range(0, len(x), _EVALUATION_BATCH):
            part = x[start : start + _EVALUATION_BATCH]
            padded = np.concatenate([part, np.repeat(part[:1], _EVALUATION_BATCH - len(part), axis=0)])
            logits = self._compiled(self._logits[role], values, seeds, tf.convert_to_tensor(padded))
            parts.append(logits.numpy()[: len(part)])
        return np.concatenate(parts)

    def accuracy(self, role: str, weights: Weights, data: Dataset) -> float:
        """Share of examples that a model classifies rightly."""
        return float(np.mean(self.logits(role, weights, data.x).argmax(-1) == data.y))

    def _compiled(self, function: Any, *args: Any) -> Any:
        """Call a compiled function; the first call of each shape traces, one thread at a time."""
        key = (function, args[-1].shape)
        if key in self._traced:
            return function(*args)
        with self._tracing:
            result = function(*args)
            self._traced.add(key)
        return result

    def _steps(self, carry: Any, masks: Any, rate: Any, x: Any, y: Any, shares: Any) -> tuple[tuple[Any, Any], Any]:
        """Unrolled steps over x (steps, n, ...), y (steps, n), shares (steps, n)."""
        sums: dict[str, Any] = {role: tf.zeros(()) for role in self.learners}
        for i in range(x.shape[0]):
            carry, losses = self._one_step(carry[0], carry[1], masks, rate, x[i], y[i], shares[i])
            sums = {role: sums[role] + losses[role] for role in sums}
        return carry, sums

    def _one_step(self, state: Any, seeds: Any, masks: Any, rate: Any, x: Any, y: Any, share: Any) -> tuple[Any, Any]:
        groups = {role: learner.trainable(state[role]) for role, learner in self.learners.items()}
        if self._projection:
            groups["projection"] = list(state["projection"])
        state, seeds = dict(state), dict(seeds)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(groups)
            outputs = {}
            for role, learner in self.learners.items():
                outputs[role], state[role], seeds[role] = learner.call(state[role], groups[role], seeds[role], x, True)
            losses = self._losses(outputs, groups.get("projection", []), y, share)
            total = tf.add_n(list(losses.values()))
        gradients = tape.gradient(total, groups, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        for group, values in groups.items():
            # One flat vector a group: a tenth of the operations, and the same bits, as a step a tensor.
            flat = tf.concat([tf.reshape(tf.convert_to_tensor(g), [-1]) for g in gradients[group]], 0)
            change, state[f"{group}.moments"] = self._optimizers[group].step(state[f"{group}.moments"], flat)
            changes = _unflatten(rate * change, self._shapes[group])
            self._put_back(state, group, [v + c for v, c in zip(values, changes, strict=True)], masks)
        return (state, seeds), losses

    def _put_back(self, state: Any, group: str, values: Tensors, masks: Any) -> None:
        if group == "projection":
            state[group] = list(values)
        else:
            masked = [v * m for v, m in zip(values, masks[group], strict=True)]
            state[group] = self.learners[group].replace_trainable(state[group], masked)

    def _losses(self, outputs: Mapping[str, Any], projection: Tensors, y: Any, share: Any) -> dict[str, Any]:
        if len(outputs) == 1:
            return {role: cross_entropy(output.logits, y, share) for role, output in outputs.items()}
        totals = mutual_losses(outputs["teacher"], outputs["student"], projection, y, share, self.loss)
        return totals._asdict()


def _unflatten(vector: Any, shapes: Sequence[tuple[int, ...]]) -> Tensors:
    parts = tf.split(vector, [math.prod(shape) for shape in shapes])
    return [tf.reshape(part, shape) for part, shape in zip(parts, shapes, strict=True)]


def batches(examples: int, size: int, epochs: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows of each batch, shuffled anew each epoch, and each row's share of its batch.

    Args:
        examples: n, at least 1.
        size: Rows in a batch.
        epochs: Passes over the examples.
        rng: Draws the order.

    Returns:
        rows, int of shape (steps, size), and shares, float32 of the same shape, each row of which sums to 1. The last
        batch of an epoch is filled up with examples that have share 0, so that all batches have one shape.
    """
    steps = -(-examples // size)
    rows = np.concatenate([np.resize(rng.permutation(examples), steps * size) for _ in range(epochs)])
    real = np.tile(np.arange(steps * size) < examples, epochs).reshape(-1, size).astype(np.float32)
    return rows.reshape(-1, size), real / real.sum(1, keepdims=True)
