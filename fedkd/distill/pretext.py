"""What a model is asked of examples without labels: masked words, how an image was turned, masked parts of a window.

Or what a teacher makes of them.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

import keras
import numpy as np
import tensorflow as tf

from fedkd.base.errors import InputError
from fedkd.data.words import WORDS_MARKS, Marks
from fedkd.distill.losses import hidden_loss, projection_shapes
from fedkd.models.inspect import head_and_input, split_outputs

MASKED_WORDS = 0.15
PATCHES = 8


class Question(NamedTuple):
    """A batch as it is asked: what the model sees, the answer, and where the answer counts (0 or 1)."""

    inputs: np.ndarray
    answer: np.ndarray
    counts: np.ndarray


class Pretext(Protocol):
    """A question that unlabelled examples answer themselves.

    ``body`` turns inputs into features, ``head`` (thrown away afterwards) features into answers.
    """

    summary: str
    body: keras.Model
    head: keras.layers.Layer

    def ask(self, x: np.ndarray, rng: np.random.Generator) -> Question:
        """Make a question of a batch of examples."""
        ...

    def loss(self, features: Any, answer: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        """Mean loss of the answers that count, a scalar; ``features`` are all that the body returns, as float32."""
        ...


def pretext_of(model: keras.Model, x: np.ndarray, seed: int, marks: Marks = WORDS_MARKS) -> Pretext:
    """Choose the question that suits the examples.

    Args:
        model: Whose layers are to be trained, all but its head.
        x: Examples: word ids (n, tokens), windows (n, steps, channels) or images (n, height, width, channels).
        seed: Of the initial values of the question's own head.
        marks: Word ids that are no words.

    Raises:
        InputError: Examples of another kind, or a text model without a hidden state a word.
    """
    kinds: dict[tuple[int, str], Callable[[keras.Model, np.ndarray, int], Pretext]]
    kinds = {(2, "i"): partial(MaskedWords, marks=marks), (3, "f"): MaskedPatches, (4, "f"): Rotation}
    if (x.ndim, x.dtype.kind) not in kinds:
        raise InputError(
            "pretraining takes images (n, height, width, channels), windows (n, steps, channels) or word ids"
            f" (n, tokens), got {x.dtype} of shape {x.shape}"
        )
    return kinds[x.ndim, x.dtype.kind](model, x, seed)


class MaskedWords:
    """Which word stood where the model now sees a mark for none; of each text's known words 15 % are hidden.

    Reference:
        Devlin et al., NAACL 2019, section 3.1, without its random and unchanged words.
    """

    summary = "masked words"

    def __init__(self, model: keras.Model, x: np.ndarray, seed: int, marks: Marks = WORDS_MARKS) -> None:
        hidden = split_outputs(model.output).hidden
        if not hidden or len(hidden[-1].shape) != 3 or hidden[-1].shape[1] != x.shape[1]:
            raise InputError(
                f"{model.name}: pretraining on texts needs a last hidden state (n, {x.shape[1]}, features)"
            )
        self.body = keras.Model(model.inputs[0], hidden[-1])
        self.head, self._marks = _dense(int(x.max()) + 1, seed), marks

    def ask(self, x: np.ndarray, rng: np.random.Generator) -> Question:
        """Hide words of x, int32 (n, tokens)."""
        masked = ~np.isin(x, self._marks.others) & (rng.random(x.shape) < MASKED_WORDS)
        return Question(np.where(masked, self._marks.mask, x).astype(np.int32), x, masked.astype(np.float32))

    def loss(self, features: tf.Tensor, answer: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        """Cross-entropy of the hidden words; the head sees no others, since it is as wide as the vocabulary."""
        hidden = counts > 0
        logits = self.head(tf.boolean_mask(features, hidden))
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.boolean_mask(answer, hidden), logits)
        return tf.reduce_sum(losses) / tf.maximum(tf.reduce_sum(counts), 1.0)


class Rotation:
    """By how many quarter turns an image was turned, half turns where it isn't square.

    Reference:
        Gidaris et al., ICLR 2018.
    """

    summary = "rotation"

    def __init__(self, model: keras.Model, x: np.ndarray, seed: int) -> None:
        self.body = keras.Model(model.inputs[0], head_and_input(model)[1])
        self._quarters = 1 if x.shape[1] == x.shape[2] else 2
        self._turns = 4 // self._quarters
        self.head = _dense(self._turns, seed)

    def ask(self, x: np.ndarray, rng: np.random.Generator) -> Question:
        """Turn each image of x, float32 (n, height, width, channels)."""
        turns, turned = rng.integers(self._turns, size=len(x)), x.copy()
        for turn in range(1, self._turns):
            turned[turns == turn] = np.rot90(x[turns == turn], turn * self._quarters, axes=(1, 2))
        return Question(turned, turns.astype(np.int32), np.ones(len(x), np.float32))

    def loss(self, features: tf.Tensor, answer: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        """Cross-entropy of the turns."""
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(answer, self.head(features))
        return tf.reduce_sum(losses * counts) / tf.reduce_sum(counts)


class MaskedPatches:
    """What a window was where half of its eight stretches are replaced by each channel's mean.

    Errors are measured in each channel's standard deviations: answering with the mean has a loss of 1.

    Reference:
        He et al., CVPR 2022 (masked autoencoders), with one dense layer as the decoder.
    """

    summary = "masked patches"

    def __init__(self, model: keras.Model, x: np.ndarray, seed: int) -> None:
        self.body = keras.Model(model.inputs[0], head_and_input(model)[1])
        self._mean, spread = x.mean((0, 1), dtype=np.float64), x.std((0, 1), dtype=np.float64)
        self._spread = np.where(spread > 0, spread, 1.0)
        self._patch = np.arange(x.shape[1]) * PATCHES // x.shape[1]
        self._shape = x.shape[1:]
        self.head = _dense(int(np.prod(self._shape)), seed)

    def ask(self, x: np.ndarray, rng: np.random.Generator) -> Question:
        """Mask parts of x, float32 (n, steps, channels)."""
        masked = rng.random((len(x), PATCHES)).argsort(1)[:, self._patch] < PATCHES // 2
        inputs = np.where(masked[..., None], self._mean, x).astype(np.float32)
        answer = ((x - self._mean) / self._spread).astype(np.float32)
        return Question(inputs, answer, masked.astype(np.float32))

    def loss(self, features: tf.Tensor, answer: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        """Mean squared error of the masked steps."""
        guess = tf.reshape(self.head(features), (-1, *self._shape))
        errors = tf.reduce_mean((guess - answer) ** 2, axis=-1)
        return tf.reduce_sum(errors * counts) / tf.maximum(tf.reduce_sum(counts), 1.0)


class Imitation:
    """What hidden states and attention maps a teacher has of an example.

    Of the pairs of layers that FedKD compares; between widths that differ stands a matrix that is learned, and in
    the beginning is as far the identity as it can be.
    """

    summary = "a teacher's hidden states and attention maps"

    def __init__(self, student: keras.Model, teacher: keras.Model) -> None:
        models = [split_outputs(model.output) for model in (teacher, student)]
        for model, outputs in zip((teacher, student), models, strict=True):
            if not outputs.hidden:
                raise InputError(f"{model.name}: a student can't be distilled without hidden states, it returns none")
        self.body, self._teacher = student, teacher
        self.head = _Projections(projection_shapes(*models))

    def ask(self, x: np.ndarray, rng: np.random.Generator) -> Question:
        """Ask for the examples as they are."""
        return Question(x, x, np.ones(len(x), np.float32))

    def loss(self, features: Any, answer: tf.Tensor, counts: tf.Tensor) -> tf.Tensor:
        """MSE of hidden states and of attention maps, each summed over layers (Wu et al. 2022, eqs 3-4)."""
        still = split_outputs(self._teacher(answer, training=False)).map(tf.stop_gradient)
        share = counts / tf.reduce_sum(counts)
        return hidden_loss(still, split_outputs(features), [tf.convert_to_tensor(w) for w in self.head.weights], share)


class _Projections(keras.layers.Layer):
    """Matrices of shapes (student features, teacher features)."""

    def __init__(self, shapes: Sequence[tuple[int, int]]) -> None:
        super().__init__(dtype="float32")
        for shape in shapes:
            self.add_weight(shape=shape, initializer=lambda size, dtype=None: keras.ops.eye(*size, dtype=dtype))
        self.built = True


def _dense(units: int, seed: int) -> keras.layers.Layer:
    initial = keras.initializers.GlorotUniform(seed)
    return keras.layers.Dense(units, kernel_initializer=initial, dtype="float32")
