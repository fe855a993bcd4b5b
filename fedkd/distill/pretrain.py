"""Self-supervised training of a teacher before the federation begins: no label is looked at."""

from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from fedkd.config.sections import TrainConfig
from fedkd.data.dataset import EVALUATION_BATCH
from fedkd.data.words import WORDS_MARKS, Marks
from fedkd.distill.batches import batches
from fedkd.distill.optimizers import optimizer_factory
from fedkd.distill.pretext import Pretext, Question, pretext_of

# Examples on which the loss is measured before and after.
_MEASURED = 16 * EVALUATION_BATCH


class Outcome(NamedTuple):
    """What was asked of how many examples, and the loss before and after, on questions that are the same for both."""

    summary: str
    examples: int
    before: float
    after: float


def pretrain(
    model: keras.Model,
    x: np.ndarray,
    train: TrainConfig,
    epochs: int,
    rng: np.random.Generator,
    on_step: Callable[[int, int, float], None] = lambda step, steps, loss: None,
    marks: Marks = WORDS_MARKS,
) -> Outcome:
    """Train all layers of a model but its head (and, of a text model, what follows its last hidden state).

    Args:
        model: Changed in place.
        x: Examples without labels, as ``fedkd.distill.pretext.pretext_of`` takes them.
        train: Optimiser, the teacher's learning rate, batch size.
        epochs: Passes over the examples.
        rng: Draws the order of the examples and the questions.
        on_step: Called with each step, from 1, the number of all steps, and the step's loss.
        marks: Of texts the ids that are no words.

    Raises:
        InputError: Examples or a model for which there is no question.
    """
    asked, seed = int(rng.integers(2**31)), int(rng.integers(2**31))
    pretext = pretext_of(model, x, seed, marks)
    sample = x[rng.permutation(len(x))[:_MEASURED]]
    pretext.head.build(pretext.body.output.shape)
    before = measure(pretext, sample, np.random.default_rng(asked))
    step = _compiled_step(pretext, optimizer_factory(train.optimizer)(train.teacher_lr))
    rows, _ = batches(len(x), train.batch_size, epochs, rng)
    for i, take in enumerate(rows, 1):
        loss = step(*_tensors(pretext.ask(x[take], rng)))
        on_step(i, len(rows), float(loss))
    return Outcome(pretext.summary, len(x), before, measure(pretext, sample, np.random.default_rng(asked)))


def measure(pretext: Pretext, x: np.ndarray, rng: np.random.Generator) -> float:
    """Mean loss of the answers to questions about x."""
    losses, sizes = [], []
    for start in range(0, len(x), EVALUATION_BATCH):
        inputs, answer, counts = _tensors(pretext.ask(x[start : start + EVALUATION_BATCH], rng))
        losses.append(float(pretext.loss(tf.cast(pretext.body(inputs), tf.float32), answer, counts)))
        sizes.append(len(inputs))
    return float(np.average(losses, weights=sizes))


def _compiled_step(pretext: Pretext, optimizer: keras.optimizers.Optimizer) -> Any:
    variables = pretext.body.trainable_variables + pretext.head.trainable_variables
    optimizer.build(variables)

    @tf.function(autograph=False)
    def step(inputs: Any, answer: Any, counts: Any) -> Any:
        with tf.GradientTape() as tape:
            features = tf.cast(pretext.body(inputs, training=True), tf.float32)
            loss = pretext.loss(features, answer, counts)
            total = tf.add_n([loss, *(tf.cast(own, tf.float32) for own in pretext.body.losses)])
        zero = tf.UnconnectedGradients.ZERO
        gradients = tape.gradient(total, [v.value for v in variables], unconnected_gradients=zero)
        optimizer.apply(gradients, variables)
        return loss

    return step


def _tensors(question: Question) -> list[tf.Tensor]:
    return [tf.convert_to_tensor(array) for array in question]
