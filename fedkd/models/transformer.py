"""Small transformers for sequences of word ids, which return all that ``fedkd.models`` names."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import tensorflow as tf
from keras import layers

from fedkd.base.encoder import Encoder

HEADS = 2
_instead = threading.local()


class Rows(NamedTuple):
    """Some rows of a table (r, width), and where each id is among them, int32 (vocabulary,)."""

    table: Any
    where: Any


@contextmanager
def rows_instead(rows: Mapping[str, Rows]) -> Iterator[None]:
    """While it holds, layers of these names called by this thread look words up in some rows alone."""
    _instead.rows = rows
    try:
        yield
    finally:
        _instead.rows = {}


@keras.saving.register_keras_serializable("fedkd")
class TokenEmbedding(layers.Layer):
    """Word and position table; a plain gather, because the SELECT of Keras' Embedding runs on no microcontroller.

    Args:
        vocabulary: Number of words; ids are from 0 to vocabulary - 1.
        steps: Length of a sequence.
        width: Length of a word's vector.
    """

    def __init__(self, vocabulary: int, steps: int, width: int, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.vocabulary, self.steps, self.width = vocabulary, steps, width

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Create both tables."""
        normal = keras.initializers.RandomNormal(stddev=0.05)
        self.words = self.add_weight(shape=(self.vocabulary, self.width), initializer=normal, name="words")
        self.positions = self.add_weight(shape=(self.steps, self.width), initializer=normal, name="positions")

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        """Look up ids of shape (n, ..., steps); returns (n, ..., steps, width)."""
        rows = getattr(_instead, "rows", {}).get(self.name)
        words = tf.gather(self.words, ids) if rows is None else tf.gather(rows.table, tf.gather(rows.where, ids))
        return words + self.positions

    def get_config(self) -> dict[str, object]:
        """Return what a saved model needs to build this layer again."""
        return {**super().get_config(), "vocabulary": self.vocabulary, "steps": self.steps, "width": self.width}


@keras.saving.register_keras_serializable("fedkd")
class IntegerFriendlyNorm(layers.Layer):
    """Layer normalisation in operations that all have int8 kernels; Keras' own leaves float islands in the file.

    Args:
        epsilon: Added to the variance.

    Reference:
        Ba, Kiros & Hinton 2016, eqs 3-4.
    """

    def __init__(self, epsilon: float = 1e-3, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.epsilon = epsilon

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Create scale and shift."""
        self.gamma = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(input_shape[-1],), initializer="zeros", name="beta")

    def call(self, x: tf.Tensor) -> tf.Tensor:
        """Normalise the last axis of (..., width)."""
        centred = x - keras.ops.mean(x, axis=-1, keepdims=True)
        variance = keras.ops.mean(centred * centred, axis=-1, keepdims=True)
        return centred * keras.ops.rsqrt(variance + self.epsilon) * self.gamma + self.beta

    def get_config(self) -> dict[str, object]:
        """Return what a saved model needs to build this layer again."""
        return {**super().get_config(), "epsilon": self.epsilon}


@keras.saving.register_keras_serializable("fedkd")
class SelfAttention(layers.MultiHeadAttention):
    """Keras' multi-head attention of a sequence to itself, returning its maps and value vectors too.

    The value vectors are computed twice, since Keras keeps its own; the compiler merges the two, or drops the second
    where nothing reads it.
    """

    def build(self, input_shape: tuple[int, ...]) -> None:
        """Create the same weights as Keras' layer, in the same order."""
        super().build(input_shape, input_shape)

    def call(self, x: tf.Tensor, attention_mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Attend within x (n, steps, width) where attention_mask, bool (n, 1 or steps, steps), allows.

        Where an example is several texts, an axis of these is behind the first of all tensors, and ``attention_axes``
        must be that of their words.

        Returns:
            (n, steps, width), maps (n, heads, steps, steps) and values (n, heads, steps, features).
        """
        mixed, maps = super().call(x, x, attention_mask=attention_mask, return_attention_scores=True)
        values, first = self.value_dense(x), range(len(x.shape) - 2)
        return mixed, maps, keras.ops.transpose(values, (*first, len(first) + 1, len(first), len(first) + 2))

    def compute_output_spec(self, x: keras.KerasTensor, attention_mask: object) -> tuple[keras.KerasTensor, ...]:
        """Return the shapes of what ``call`` returns."""
        mixed, (*first, steps) = super().compute_output_spec(x, x), x.shape[:-1]
        ends = (steps, steps), (steps, self.value_dim)
        rest = [keras.KerasTensor((*first, self.num_heads, *end), dtype=self.compute_dtype) for end in ends]
        return mixed, *rest


def student(steps: int, vocabulary: int, classes: int, width: int = 64) -> keras.Model:
    """Two layers."""
    return _network(steps, vocabulary, classes, width, depth=2)


def teacher(steps: int, vocabulary: int, classes: int, width: int = 80) -> keras.Model:
    """Four layers; as many heads as the student, so that their attention maps compare head by head."""
    return _network(steps, vocabulary, classes, width, depth=4)


def encoder_network(encoder: Encoder, depth: int, steps: int, classes: int) -> keras.Model:
    """The first layers of an encoder, normalised behind each part as BERT's are, with a head of its own."""
    ids = keras.Input((steps,), dtype="int32", name="tokens")
    return _classifier(ids, *encoder_body(ids, encoder, depth), classes)


def encoder_body(ids: tf.Tensor, encoder: Encoder, depth: int) -> tuple[tf.Tensor, tf.Tensor, "States"]:
    """The first layers of an encoder without a head, see ``body``."""
    real = keras.ops.cast(keras.ops.not_equal(ids, encoder.padding), "float32")
    x = TokenEmbedding(encoder.vocabulary, ids.shape[-1], encoder.width, name="embedding")(ids)
    x, states = IntegerFriendlyNorm(encoder.epsilon, name="embedding_norm")(x), States([], [], [])
    for i in range(depth):
        x, maps, values = _encoder_layer(x, real, i, encoder)
        states.add(x, maps, values)
    return real, x, states


def _encoder_layer(
    x: tf.Tensor, real: tf.Tensor, index: int, encoder: Encoder
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """One post-norm layer (Devlin et al., NAACL 2019), its maps and its values."""
    attend = SelfAttention(
        encoder.heads, encoder.width // encoder.heads, attention_axes=_words(x), name=f"layer{index}_attention"
    )
    mixed, maps, values = attend(x, keras.ops.expand_dims(real, -2) > 0)
    x = IntegerFriendlyNorm(encoder.epsilon, name=f"layer{index}_norm0")(x + mixed)
    inner = layers.Dense(encoder.inner, name=f"layer{index}_dense0")(x)
    name = encoder.activation
    inner = keras.ops.relu(inner) if name == "relu" else keras.ops.gelu(inner, approximate=name == "gelu_tanh")
    x = x + layers.Dense(encoder.width, name=f"layer{index}_dense1")(inner)
    return IntegerFriendlyNorm(encoder.epsilon, name=f"layer{index}_norm1")(x), maps, values


class States(NamedTuple):
    """What teacher and student compare, a tensor a layer."""

    hidden: list[tf.Tensor]
    attention: list[tf.Tensor]
    values: list[tf.Tensor]

    def add(self, *tensors: tf.Tensor) -> None:
        """Append those of a layer."""
        for held, tensor in zip(self, tensors, strict=True):
            held.append(tensor)


def _network(steps: int, vocabulary: int, classes: int, width: int, depth: int, heads: int = HEADS) -> keras.Model:
    ids = keras.Input((steps,), dtype="int32", name="tokens")
    return _classifier(ids, *body(ids, vocabulary, width, depth, heads), classes)


def body(
    ids: tf.Tensor, vocabulary: int, width: int, depth: int, heads: int = HEADS
) -> tuple[tf.Tensor, tf.Tensor, States]:
    """A small transformer without a head.

    Args:
        ids: Words of texts (n, steps), or of several in each example (n, texts, steps); 0 is padding.
        vocabulary: How many words there are.
        width: Of a word's vector.
        depth: Layers.
        heads: Of attention.

    Returns:
        1 for each word and 0 for padding, of the shape of the ids; what is left of each, (..., width); and what models
        compare.
    """
    real = keras.ops.cast(keras.ops.not_equal(ids, 0), "float32")
    x, states = TokenEmbedding(vocabulary, ids.shape[-1], width, name="embedding")(ids), States([], [], [])
    for i in range(depth):
        x, maps, values = _layer(x, real, i, width, heads)
        states.add(x, maps, values)
    return real, IntegerFriendlyNorm(name="last_norm")(x), states


def _classifier(ids: tf.Tensor, real: tf.Tensor, x: tf.Tensor, states: States, classes: int) -> keras.Model:
    """Logits by the mean of what is left of the real words, and all that models compare."""
    weights = keras.ops.expand_dims(real, -1)
    mean = keras.ops.sum(x * weights, axis=1) / (keras.ops.sum(weights, axis=1) + 1e-6)
    return keras.Model(ids, {"logits": layers.Dense(classes, name="logits")(mean), **states._asdict(), "mask": real})


def _layer(x: tf.Tensor, real: tf.Tensor, index: int, width: int, heads: int) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """One pre-norm encoder layer, its maps and its values; padded words are attended to by nobody."""
    mask = keras.ops.expand_dims(real, -2) > 0
    normed = IntegerFriendlyNorm(name=f"layer{index}_norm0")(x)
    attend = SelfAttention(heads, width // heads, attention_axes=_words(x), name=f"layer{index}_attention")
    mixed, maps, values = attend(normed, mask)
    x = x + mixed
    normed = IntegerFriendlyNorm(name=f"layer{index}_norm1")(x)
    inner = layers.Dense(2 * width, activation="relu", name=f"layer{index}_dense0")(normed)
    return x + layers.Dense(width, name=f"layer{index}_dense1")(inner), maps, values


def _words(x: tf.Tensor) -> tuple[int, ...] | None:
    """The axis of a text's words, where there is one of texts before it; else there is no choice."""
    return None if len(x.shape) == 3 else (len(x.shape) - 2,)
