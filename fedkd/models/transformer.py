"""Small transformers for sequences of word ids, with hidden states and attention maps for the hidden loss."""

import keras
import tensorflow as tf
from keras import layers


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
        """Look up ids of shape (n, steps); returns (n, steps, width)."""
        return tf.gather(self.words, ids) + self.positions

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


def student(steps: int, vocabulary: int, classes: int, width: int = 64) -> keras.Model:
    """Two layers."""
    return _network(steps, vocabulary, classes, width, depth=2)


def teacher(steps: int, vocabulary: int, classes: int, width: int = 80) -> keras.Model:
    """Four layers; as many heads as the student, so that their attention maps compare head by head."""
    return _network(steps, vocabulary, classes, width, depth=4)


def _network(steps: int, vocabulary: int, classes: int, width: int, depth: int, heads: int = 2) -> keras.Model:
    ids = keras.Input((steps,), dtype="int32", name="tokens")
    real = keras.ops.cast(keras.ops.not_equal(ids, 0), "float32")
    x, hidden, attention = TokenEmbedding(vocabulary, steps, width, name="embedding")(ids), [], []
    for i in range(depth):
        x, scores = _layer(x, real, i, width, heads)
        hidden.append(x)
        attention.append(scores)
    x = IntegerFriendlyNorm(name="last_norm")(x)
    weights = keras.ops.expand_dims(real, -1)
    mean = keras.ops.sum(x * weights, axis=1) / (keras.ops.sum(weights, axis=1) + 1e-6)
    logits = layers.Dense(classes, name="logits")(mean)
    return keras.Model(ids, {"logits": logits, "hidden": hidden, "attention": attention})


def _layer(x: tf.Tensor, real: tf.Tensor, index: int, width: int, heads: int) -> tuple[tf.Tensor, tf.Tensor]:
    """One pre-norm encoder layer; padded words are attended to by nobody."""
    mask = keras.ops.expand_dims(real, 1) > 0
    normed = IntegerFriendlyNorm(name=f"layer{index}_norm0")(x)
    attend = layers.MultiHeadAttention(heads, width // heads, name=f"layer{index}_attention")
    mixed, scores = attend(normed, normed, attention_mask=mask, return_attention_scores=True)
    x = x + mixed
    normed = IntegerFriendlyNorm(name=f"layer{index}_norm1")(x)
    inner = layers.Dense(2 * width, activation="relu", name=f"layer{index}_dense0")(normed)
    return x + layers.Dense(width, name=f"layer{index}_dense1")(inner), scores
