"""Training on a task's own examples, for models that no federation stands behind."""

import math
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fedkd.base.errors import InputError
from fedkd.models.graph import functional, graph_of
from fedkd.objectives.objective import Objective
from fedkd.tasks.task import Task

# Trains a model in place, within the constraints that its weights have.
FineTune = Callable[[keras.Model], None]

BATCH = 32
_RATE = 1e-3
# So many steps at least, but for tiny data: fewer epochs where there are many examples.
_STEPS, _MOST_EPOCHS = 2000, 10


def fine_tuned(task: Task, seed: int) -> FineTune:
    """Return what trains a model by Keras' own ``fit``: Adam whose rate falls to zero.

    Args:
        task: Its training examples.
        seed: Of the order of examples and of random layers; the same seed leads to the same weights.

    What is returned raises InputError where the loss doesn't stay finite.
    """
    steps = math.ceil(len(task.train) / BATCH)
    epochs = min(_MOST_EPOCHS, math.ceil(_STEPS / steps))

    def tune(model: keras.Model) -> None:
        keras.utils.set_random_seed(seed)
        _seed_layers(model, seed)
        rate = keras.optimizers.schedules.CosineDecay(_RATE, epochs * steps)
        model.compile(keras.optimizers.Adam(rate), _loss(model, task.objective), jit_compile=False)
        stop = keras.callbacks.TerminateOnNaN()
        trained = model.fit(task.train.x, task.train.y, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[stop])
        model.compiled = False  # lest copies of it ask for the loss by a name
        if not np.isfinite(trained.history["loss"]).all():
            raise InputError(
                "its loss became NaN or infinite in training; give examples of a smaller range, or a model that is"
                " normalised (BatchNormalization)"
            )

    return tune


def _seed_layers(model: keras.Model, seed: int) -> None:
    """Give layers that draw, such as dropout, the seed: when made they took theirs from Python's own generator."""
    for number, state in enumerate(v for v in model.variables if v.path.endswith("seed_generator_state")):
        state.assign([seed % 2**32, number])


def _loss(model: keras.Model, objective: Objective) -> Any:
    """The task's loss, the mean over a batch; classes may come as probabilities here."""
    if objective.kind == "classification" and model.output.shape[-1] > 1:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=not gives_probabilities(model))

    def loss(target: Any, outputs: Any) -> Any:
        count = tf.shape(outputs)[0]
        return objective.loss(outputs, target, tf.fill((count,), 1 / tf.cast(count, tf.float32)))

    return loss


def gives_probabilities(model: keras.Model) -> bool:
    """Whether a model ends in a softmax, instead of logits."""
    graph = graph_of(functional(model))
    return any(
        node.name in graph.outputs and (node.kind == "Softmax" or node.activation == "softmax") for node in graph.nodes
    )
