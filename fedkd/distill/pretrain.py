"""Training before the federation begins, in which no label is looked at: of a teacher, or of a student by a teacher."""

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
from fedkd.distill.pretext import Imitation, Pretext, Question, pretext_of

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
    pretext.head.build(pretext.body.output.shape)
    return _taught(pretext, x, train, train.teacher_lr, epochs, rng, asked, on_step)


def distil(
    student: keras.Model,
    teacher: keras.Model,
    x: np.ndarray,
    train: TrainConfig,
    epochs: int,
    rng: np.random.Generator,
    on_step: Callable[[int, int, float], None] = lambda step, steps, loss: None,
) -> Outcome:
    """Train all layers of a student but its head to have the hidden states and attention maps of a teacher.

    Args:
        student: Changed in place.
        teacher: With hidden states; it stays as it is.
        x: Examples without labels, as both models take them.
        train: Optimiser, the student's learning rate, batch size.
        epochs: Passes over the examples.
        rng: Draws the order of the examples.
        on_step: Called with each step, from 1, the number of all steps, and the step's loss.

    Raises:
        InputError: A model has no hidden states, or theirs differ in more than their features.

    Reference:
        Jiao et al., Findings of EMNLP 2020 (TinyBERT), eqs 7-8, on the layers that FedKD compares.
    """
    return _taught(Imitation(student, teacher), x, train, train.student_lr, epochs, rng, 0, on_step)


def _taught(
    pretext: Pretext,
    x: np.ndarray,
    train: TrainConfig,
    rate: float,
    epochs: int,
    rng: np.random.Generator,
    asked: int,
    on_step: Callable[[int, int, float], None],
) -> Outcome:
    """Train a pretext's body and head; ``asked`` is the seed of the questions by which it is measured."""
    sample = x[rng.permutation(len(x))[:_MEASURED]]
    before = measure(pretext, sample, np.random.default_rng(asked))
    step = _compiled_step(pretext, optimizer_factory(train.optimizer)(rate))
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
        losses.append(float(pretext.loss(_floats(pretext.body(inputs)), answer, counts)))
        sizes.append(len(inputs))
    return float(np.average(losses, weights=sizes))


def _compiled_step(pretext: Pretext, optimizer: keras.optimizers.Optimizer) -> Any:
    variables = pretext.body.trainable_variables + pretext.head.trainable_variables
    optimizer.build(variables)

    @tf.function(autograph=False)
    def step(inputs: Any, answer: Any, counts: Any) -> Any:
        with tf.GradientTape() as tape:
            features = _floats(pretext.body(inputs, training=True))
            loss = pretext.loss(features, answer, counts)
            total = tf.add_n([loss, *(tf.cast(own, tf.float32) for own in pretext.body.losses)])
        zero = tf.UnconnectedGradients.ZERO
        gradients = tape.gradient(total, [v.value for v in variables], unconnected_gradients=zero)
        optimizer.apply(gradients, variables)
        return loss

    return step


def _floats(outputs: Any) -> Any:
    return keras.tree.map_structure(lambda tensor: tf.cast(tensor, tf.float32), outputs)


def _tensors(question: Question) -> list[tf.Tensor]:
    return [tf.convert_to_tensor(array) for array in question]
