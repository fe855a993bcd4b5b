"""Mutual training of a client's models: one compiled function, reused by every client and round."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from fedkd.base import runtime
from fedkd.base.tensors import State, Weights
from fedkd.config.sections import LossConfig, TrainConfig
from fedkd.data.dataset import EVALUATION_BATCH, Dataset
from fedkd.distill import rows
from fedkd.distill.batches import Schedule, ratio_of, steps
from fedkd.distill.checks import check_knowledge
from fedkd.distill.class_weights import weigher
from fedkd.distill.compiled import Compiled
from fedkd.distill.learner import Learner, Tensors
from fedkd.distill.losses import mutual_losses, projection_shapes
from fedkd.distill.optimizers import optimizer_factory, pure
from fedkd.distill.trainer import Augment
from fedkd.models.inspect import Outputs, split_outputs
from fedkd.objectives.objective import Objective

# Batches unrolled in one compiled call. Worth it where a batch takes less than some milliseconds, that is for models
# of few tensors; for others the call costs nothing against the work, and tracing would take long.
_UNROLL = 5
_UNROLL_TENSORS = 40


class Bounds(NamedTuple):
    """What a round does to the steps of trainable weights, by role.

    Their masks, the weights they stay near, and what is added to each of their gradients.
    """

    masks: Any
    anchors: Any
    corrections: Any


Differentiate = Callable[[Callable[[], tuple[Any, Any]], Any], tuple[Any, Any]]


def taped(compute: Callable[[], tuple[Any, Any]], groups: Any) -> tuple[Any, Any]:
    """Compute something and its gradients by TensorFlow's tape.

    Args:
        compute: Returns the scalar to be differentiated, and whatever else.
        groups: Nested tensors by which to differentiate.

    Returns:
        The gradients, nested as they are, and what else was computed.
    """
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(groups)
        total, rest = compute()
    return tape.gradient(total, groups, unconnected_gradients=tf.UnconnectedGradients.ZERO), rest


class Shares(NamedTuple):
    """Each row's share of its batch, shape (n,), in all that models teach each other, and in the task loss."""

    all: Any
    task: Any


class KerasTrainer:
    """Trains a teacher and a student on each other, or one of them alone: ``fedkd.distill.trainer.Trainer`` in Keras.

    Args:
        models: By role, ``teacher`` and ``student`` or one of them.
        train: Optimiser, learning rates, epochs, batch size.
        loss: Switches of the mutual losses.
        objective: Of the task.
        seed: Of the projection's initial values.
        augment: Changes inputs (batches, size, ...) at random before each use; both models see the same.

    Raises:
        InputError: Hidden states of the two models that can't be matched, or knowledge that they can't give.
    """

    def __init__(
        self,
        models: Mapping[str, keras.Model],
        train: TrainConfig,
        loss: LossConfig,
        objective: Objective,
        seed: int,
        augment: Augment | None = None,
    ) -> None:
        self.train, self.loss, self._objective, self._augment = train, loss, objective, augment
        self.weigh, self.ratio = weigher(train.class_weights, objective), ratio_of(train, len(models))
        self.learners = {role: Learner(model) for role, model in models.items()}
        if len(models) == 2:
            check_knowledge(*self._outputs(), loss)
        self._projection = self._build_projection(seed) if len(models) == 2 and loss.hidden else []
        rates = {"teacher": train.teacher_lr, "student": train.student_lr, "projection": train.teacher_lr}
        # The teacher of some rounds is done, and teaches.
        self.trained = tuple(
            role for role in models if len(models) == 1 or role != "teacher" or not train.teacher_share
        )
        variables = {role: models[role].trainable_variables for role in self.trained}
        if self._projection:
            variables["projection"] = self._projection
        make = optimizer_factory(train.optimizer)
        self._optimizers = {group: pure(make(rates[group]), held) for group, held in variables.items()}
        self._loss_scale = max(learner.loss_scale for learner in self.learners.values())
        tensors = sum(map(len, variables.values()))
        self._unroll = _UNROLL if tensors <= _UNROLL_TENSORS else 1
        self.unrolls = True
        self._step = Compiled(self.steps)
        self._logits = {role: Compiled(learner.logits) for role, learner in self.learners.items()}
        self._pools: dict[int, ThreadPoolExecutor] = {}

    def _outputs(self) -> tuple[Outputs, Outputs]:
        """Symbolic outputs of the teacher and of the student."""
        teacher, student = (split_outputs(self.learners[role].model.output) for role in ("teacher", "student"))
        return teacher, student

    def _build_projection(self, seed: int) -> list[keras.Variable]:
        glorot = keras.initializers.GlorotUniform(seed)
        return [keras.Variable(glorot(shape), dtype="float32") for shape in projection_shapes(*self._outputs())]

    @property
    def roles(self) -> tuple[str, ...]:
        """The models that are trained."""
        return tuple(self.learners)

    def trainable(self, role: str, values: Sequence[Any]) -> Tensors:
        """Pick those of a model's trainable weights from a list in the order of all its weights."""
        return self.learners[role].trainable(values)

    def initial_state(self) -> State:
        """Return the state of a client that has never trained; its arrays are everyone's, not to be changed."""
        return {group: list(arrays) for group, arrays in self._initial.items()}

    @cached_property
    def _initial(self) -> State:
        state = {role: learner.initial() for role, learner in self.learners.items()}
        state["projection"] = [keras.ops.convert_to_numpy(v) for v in self._projection]
        return state | {f"{group}.moments": self.initial_moments(group) for group in self._optimizers}

    def steps_of(self, examples: int) -> int:
        """Return how many steps training takes on so many examples."""
        return steps(examples, self.train.batch_size, self.train.epochs)

    def initial_moments(self, group: str) -> Weights:
        """Return a group's optimiser variables before the first step."""
        return self._optimizers[group].initial()

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
        train = self.train
        schedule = Schedule(data, train.batch_size, self.ratio, train.epochs, self.weigh(data.y), rng)
        seeds = {role: learner.seeds(rng) for role, learner in self.learners.items()}
        bounds = Bounds(dict(masks or {}), dict(anchors or {}), dict(corrections or {}))
        # What holds weights back may move rows that no text has.
        tables = [] if any(bounds) or self._augment else rows.tables(self.learners, self._optimizers)
        chosen = rows.taken(state, tables, schedule.inputs)
        small = rows.reduced(state, chosen)
        carry: Any = (small, seeds)
        scale, start, losses, varying = np.float32(rate), 0, [], rows.varying(small, chosen)
        while start < len(schedule):
            count = self._unroll if len(schedule) - start >= self._unroll else 1
            lot = schedule.lot(start, count)
            x = lot.x if self._augment is None else self._augment(lot.x, rng)
            for batch in self._calls(x, lot.y, lot.shares, *([] if lot.task_shares is None else [lot.task_shares])):
                key = (len(batch[0]), *map(tuple, bounds), *(each.table for each in chosen))
                carry, loss = self._step(key, carry, bounds, scale, *batch, varying=varying)
                losses.append(loss)
            start += count
        after = {group: [np.asarray(tensor) for tensor in tensors] for group, tensors in carry[0].items()}
        after = rows.restored(after, state, chosen)
        mean = {role: float(sum(loss[role].numpy() for loss in losses)) / len(schedule) for role in self.learners}
        return after, mean

    def _calls(self, *lot: np.ndarray) -> list[tuple[np.ndarray, ...]]:
        """Cut a lot of batches as the compiled function takes them: whole, or one by one."""
        if self.unrolls:
            return [lot]
        return [tuple(array[i : i + 1] for array in lot) for i in range(len(lot[0]))]

    def logits(self, role: str, weights: Weights, x: np.ndarray, threads: int = 1) -> np.ndarray:
        """Return outputs (n, k) of one model for n >= 1 inputs, in batches of one size: one compilation."""
        seeds = self.learners[role].seeds(np.random.default_rng(0))
        tensors = [tf.constant(array) for array in weights]

        def batch(start: int) -> np.ndarray:
            part = x[start : start + EVALUATION_BATCH]
            if missing := EVALUATION_BATCH - len(part):
                part = np.concatenate([part, np.repeat(part[:1], missing, axis=0)])
            return self._logits[role](part.shape, tensors, seeds, part).numpy()[: EVALUATION_BATCH - missing]

        starts = range(0, len(x), EVALUATION_BATCH)
        if min(threads, len(starts)) == 1:
            return np.concatenate([batch(start) for start in starts])

        def beside_others(start: int) -> np.ndarray:
            with runtime.inline_operations():
                return batch(start)

        # The same threads each time: TensorFlow keeps what it has prepared of its kernels by thread.
        if threads not in self._pools:
            self._pools[threads] = ThreadPoolExecutor(threads)
        return np.concatenate(list(self._pools[threads].map(beside_others, starts)))

    def steps(
        self, carry: Any, bounds: Any, rate: Any, x: Any, y: Any, shares: Any, task_shares: Any = None
    ) -> tuple[tuple[Any, Any], Any]:
        """Unrolled steps over x (steps, n, ...), y (steps, n, ...), shares (steps, n), as a pure function of tensors.

        Args:
            carry: A client's state, and by role the states of random layers.
            bounds: What else the round does to a step.
            rate: Multiplies all learning rates.
            x: Inputs.
            y: Targets.
            shares: Each row's share of its batch.
            task_shares: The same in the task loss, where classes count differently.

        Returns:
            The carry after the steps, and by role the sum of the losses.
        """
        sums: dict[str, Any] = {role: tf.zeros(()) for role in self.learners}
        for i in range(x.shape[0]):
            counts = Shares(shares[i], shares[i] if task_shares is None else task_shares[i])
            carry, losses = self.step(carry[0], carry[1], bounds, rate, x[i], y[i], counts)
            sums = {role: sums[role] + losses[role] for role in sums}
        return carry, sums

    def step(
        self,
        state: Any,
        seeds: Any,
        bounds: Bounds,
        rate: Any,
        x: Any,
        y: Any,
        share: Shares,
        differentiate: Differentiate = taped,
    ) -> tuple[tuple[Any, Any], Any]:
        """One step, as ``steps``; ``differentiate`` is what takes gradients."""
        groups = {role: self.learners[role].trainable(state[role]) for role in self.trained}
        if self._projection:
            groups["projection"] = list(state["projection"])

        def compute() -> tuple[Any, Any]:
            outputs, own, fresh, drawn = {}, {}, dict(state), dict(seeds)
            for role, learner in self.learners.items():
                moves = role in groups
                values = groups[role] if moves else learner.trainable(state[role])
                where = state.get(f"{role}.where", ())
                called = learner.call(state[role], values, seeds[role], x, training=moves, where=where)
                outputs[role], own[role], fresh[role], drawn[role] = called
            losses = self._losses(outputs, groups.get("projection", []), y, share)
            losses = {role: loss + own[role] for role, loss in losses.items()}
            return self._loss_scale * tf.add_n([losses[role] for role in self.trained]), (losses, fresh, drawn)

        gradients, (losses, state, seeds) = differentiate(compute, groups)
        for group, values in groups.items():
            slopes = [self._unscaled(g) for g in gradients[group]]
            if group in bounds.anchors:
                pulls = zip(slopes, values, bounds.anchors[group], strict=True)
                slopes = [g + self.train.proximal * (v - a) for g, v, a in pulls]
            if group in bounds.corrections:
                slopes = [g + c for g, c in zip(slopes, bounds.corrections[group], strict=True)]
            after, moments = self._optimizers[group].step(state[f"{group}.moments"], slopes, values, rate)
            state[f"{group}.moments"] = moments
            if group in bounds.masks:
                after = [v * m for v, m in zip(after, bounds.masks[group], strict=True)]
            trained = self.learners[group].replace_trainable(state[group], after) if group in self.learners else after
            state[group] = trained
        return (state, seeds), losses

    def _unscaled(self, gradient: Any) -> Any:
        dense = tf.convert_to_tensor(gradient)  # those of embeddings come as slices
        return dense if self._loss_scale == 1 else dense / self._loss_scale

    def _losses(self, outputs: Mapping[str, Any], projection: Tensors, y: Any, share: Shares) -> dict[str, Any]:
        if len(outputs) == 1:
            return {role: self._objective.loss(output.logits, y, share.task) for role, output in outputs.items()}
        models = outputs["teacher"], outputs["student"]
        totals = mutual_losses(*models, projection, y, share.all, self.loss, self._objective, share.task)
        return totals._asdict()
