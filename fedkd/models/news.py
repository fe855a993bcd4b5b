"""Which news a user clicks next: titles by a transformer, the user by attention over the news clicked before.

An example is one row of word ids: the titles that were clicked, then those of the candidates, each of as many words.
"""

import keras
import tensorflow as tf
from keras import layers

from fedkd.base.encoder import Encoder
from fedkd.models.transformer import HEADS, SelfAttention, States, body, encoder_body

_FAR = 30.0  # below all others, so that a softmax leaves nothing; no more, since it is in an int8 file's range


@keras.saving.register_keras_serializable("fedkd")
class ClickScores(layers.Layer):
    """Scores of candidates: their product with the user, who is what additive attention picks of the news clicked.

    Reference:
        Wu et al., EMNLP 2019 (NRMS), eqs 4-6; the product over the root of its width, as in attention.
    """

    def build(
        self, clicked_shape: tuple[int, ...], candidates_shape: tuple[int, ...], real_shape: tuple[int, ...]
    ) -> None:
        """Create the attention's dense layer and its query."""
        width = clicked_shape[-1]
        self.kernel = self.add_weight(shape=(width, width), initializer="glorot_uniform", name="kernel")
        self.bias = self.add_weight(shape=(width,), initializer="zeros", name="bias")
        self.query = self.add_weight(
            shape=(width,), initializer=keras.initializers.RandomNormal(stddev=width**-0.5), name="query"
        )

    def call(self, clicked: tf.Tensor, candidates: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
        """Score candidates.

        Args:
            clicked: News clicked before, (n, history, width).
            candidates: (n, candidates, width).
            real: (n, history), 1 for news and 0 for padding. A user without any gives all candidates 0.

        Returns:
            (n, candidates).
        """
        ops = keras.ops
        energies = ops.sum(ops.tanh(ops.matmul(clicked, self.kernel) + self.bias) * self.query, axis=-1)
        weights = ops.softmax(energies - _FAR * (1.0 - real), axis=-1) * real
        user = ops.sum(clicked * ops.expand_dims(weights, -1), axis=1, keepdims=True)
        return ops.sum(candidates * user, axis=-1) * clicked.shape[-1] ** -0.5

    def compute_output_shape(
        self, clicked_shape: tuple[int, ...], candidates_shape: tuple[int, ...], real_shape: tuple[int, ...]
    ) -> tuple[int, ...]:
        """Return (n, candidates)."""
        return candidates_shape[:2]


def student(history: int, candidates: int, steps: int, vocabulary: int, width: int = 64) -> keras.Model:
    """Two layers on titles of so many words."""
    return _network(history, candidates, steps, vocabulary, width, depth=2)


def teacher(history: int, candidates: int, steps: int, vocabulary: int, width: int = 80) -> keras.Model:
    """Four layers."""
    return _network(history, candidates, steps, vocabulary, width, depth=4)


def encoder_network(encoder: Encoder, depth: int, history: int, candidates: int, steps: int) -> keras.Model:
    """The first layers of a pretrained encoder on titles, with the user's attention behind them."""
    ids, titles = _titles(history + candidates, steps)
    return _ranking(ids, *encoder_body(titles, encoder, depth), history, encoder.heads)


def _network(history: int, candidates: int, steps: int, vocabulary: int, width: int, depth: int) -> keras.Model:
    ids, titles = _titles(history + candidates, steps)
    return _ranking(ids, *body(titles, vocabulary, width, depth), history, HEADS)


def _titles(count: int, steps: int) -> tuple[tf.Tensor, tf.Tensor]:
    """The input (n, count x steps), and its titles (n, count, steps).

    An example's titles stay in its own row of all tensors, by which costs are counted.
    """
    ids = keras.Input((count * steps,), dtype="int32", name="tokens")
    return ids, keras.ops.reshape(ids, (-1, count, steps))


def _ranking(ids: tf.Tensor, real: tf.Tensor, x: tf.Tensor, states: States, history: int, heads: int) -> keras.Model:
    """Scores by what is left of the words of all titles, and what models compare."""
    ops, width = keras.ops, x.shape[-1]
    vectors = layers.Dense(width, name="title")(_mean(real, x))
    there, clicked = ops.max(real, axis=-1)[:, :history], vectors[:, :history]
    attend = SelfAttention(heads, width // heads, name="clicks_attention")
    mixed, _, _ = attend(clicked, ops.expand_dims(there, 1) > 0)
    scores = ClickScores(name="scores")(clicked + mixed, vectors[:, history:], there)
    return keras.Model(ids, {"logits": scores, **_compared(states), "mask": ops.reshape(real, (-1, ids.shape[1]))})


def _mean(real: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """The mean (n, titles, width) of what is left of the real words (n, titles, steps, width).

    0 of a title that isn't there, without a division by a number that integers round to 0.
    """
    weights = keras.ops.expand_dims(real, -1)
    return keras.ops.sum(x * weights, axis=-2) / keras.ops.maximum(keras.ops.sum(weights, axis=-2), 1.0)


def _compared(states: States) -> dict[str, list[tf.Tensor]]:
    """Hidden states (n, words, features) and maps (n, heads, words, steps): a word attends within its own title."""
    _, count, heads, steps, _ = states.attention[0].shape

    def together(maps: tf.Tensor) -> tf.Tensor:
        first_heads = keras.ops.transpose(maps, (0, 2, 1, 3, 4))
        return keras.ops.reshape(first_heads, (-1, heads, count * steps, steps))

    hidden = [keras.ops.reshape(state, (-1, count * steps, state.shape[-1])) for state in states.hidden]
    return {"hidden": hidden, "attention": [together(maps) for maps in states.attention]}
