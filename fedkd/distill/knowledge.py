"""Kinds of knowledge beside FedKD's own that one model may learn from another, one equation a function.

Each takes the outputs of the model that is learned from (``target``), of the one that learns (``model``), and
``share``, each example's share of the batch, shape (n,), summing to 1: padding has none. Padded positions of an
example (``Outputs.mask``) count in none of them. All gradients are finite, also where distances or maps are 0.
"""

from collections.abc import Callable

import keras
import tensorflow as tf

from fedkd.config.sections import LossConfig
from fedkd.distill.alignment import align_heads, spatial_pairs
from fedkd.models.inspect import Outputs

EPSILON = 1e-8

Kind = Callable[[Outputs, Outputs, tf.Tensor], tf.Tensor]


def attention_transfer(target: Outputs, model: Outputs, share: tf.Tensor) -> tf.Tensor:
    """Mean squared difference of where two models' hidden states are large, summed over matched layers.

    A layer's map is the square of its states summed over features, with norm 1 over the positions of an example.
    Layers without positions, as that of a dense layer, are left out.

    Reference:
        Zagoruyko & Komodakis, ICLR 2017, eq. 2 with F²_sum; squared and averaged as in their code, to which their
        β = 1000 belongs.
    """
    terms = [tf.zeros(())]
    for a, b in spatial_pairs(target, model):
        left, right = _positions(a), _positions(b)
        real = _real((target, model), left.shape[1])
        difference = tf.square(_activation_map(left, real) - _activation_map(right, real))
        terms.append(tf.reduce_sum(share * _mean(difference, real, -1)))
    return tf.add_n(terms)


def distance(target: Outputs, model: Outputs, share: tf.Tensor) -> tf.Tensor:
    """Huber loss of distances between examples, as multiples of their mean: the mean over pairs in the batch.

    Reference:
        Park et al., CVPR 2019, section 3.2.1 (λ_D = 25 in their classification).
    """
    pairs = share[:, None] * share * (1 - tf.eye(share.shape[0]))
    return _mean(_huber(_distances(target, pairs), _distances(model, pairs)), pairs, (0, 1))


def angle(target: Outputs, model: Outputs, share: tf.Tensor) -> tf.Tensor:
    """Huber loss of cosines of the angles that examples form: the mean over triples in the batch.

    Reference:
        Park et al., CVPR 2019, section 3.2.2 (λ_A = 50 in their classification).
    """
    other = 1 - tf.eye(share.shape[0])
    triples = share[:, None, None] * share[:, None] * share * other[:, :, None] * other[:, None] * other
    return _mean(_huber(_cosines(target), _cosines(model)), triples, (0, 1, 2))


def attention_relation(target: Outputs, model: Outputs, share: tf.Tensor) -> tf.Tensor:
    """KL of the last layer's attention maps, as distributions over an example's real positions.

    Reference:
        Wang et al., NeurIPS 2020, section 3.1 (L_AT).
    """
    real = _real((target, model), target.attention[-1].shape[-1])
    left, right = (_distributions(outputs.attention[-1], real) for outputs in (target, model))
    return _relation_kl(left, right, real, share)


def value_relation(target: Outputs, model: Outputs, share: tf.Tensor) -> tf.Tensor:
    """KL of softmax(V Vᵀ / √d), the relations between the last layer's value vectors, over real positions.

    Reference:
        Wang et al., NeurIPS 2020, section 3.2 (L_VR).
    """
    real = _real((target, model), target.values[-1].shape[2])
    left, right = (_value_maps(outputs.values[-1], real) for outputs in (target, model))
    return _relation_kl(left, right, real, share)


KINDS: dict[str, Kind] = {
    "attention_transfer": attention_transfer,
    "distance": distance,
    "angle": angle,
    "attention_relation": attention_relation,
    "value_relation": value_relation,
}


def switched_on(config: LossConfig) -> list[tuple[float, Kind]]:
    """Weight and function of each kind that a configuration wants."""
    return [(weight, KINDS[key]) for key, weight in config.knowledge.items()]


def _positions(states: tf.Tensor) -> tf.Tensor:
    """Hidden states (n, ..., features) as (n, positions, features)."""
    return tf.reshape(states, (states.shape[0], -1, states.shape[-1]))


def _real(models: tuple[Outputs, ...], positions: int) -> tf.Tensor:
    """1 for each position (n, positions) that all models count, 0 for padding; a mask of other length says nothing."""
    real = tf.ones((models[0].logits.shape[0], positions))
    for outputs in models:
        if outputs.mask is not None and outputs.mask.shape[1] == positions:
            real *= outputs.mask
    return real


def _mean(values: tf.Tensor, weights: tf.Tensor, axis: int | tuple[int, ...]) -> tf.Tensor:
    """Weighted mean; 0 where all weights are 0."""
    return tf.math.divide_no_nan(tf.reduce_sum(weights * values, axis), tf.reduce_sum(weights, axis))


def _huber(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Huber loss of each element, with δ = 1."""
    return keras.losses.huber(a[..., None], b[..., None])


def _activation_map(states: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
    """Squares of states (n, positions, features) summed over features, with norm 1 over real positions."""
    return tf.math.l2_normalize(real * tf.reduce_sum(tf.square(states), -1), axis=-1, epsilon=1e-24)


def _differences(outputs: Outputs) -> tuple[tf.Tensor, tf.Tensor]:
    """Differences (n, n, features) of the examples' embeddings, and their lengths (n, n, 1).

    An example's embedding is its last hidden state, averaged over real positions.
    """
    states = _positions(outputs.hidden[-1])
    embeddings = _mean(states, _real((outputs,), states.shape[1])[..., None], 1)
    differences = embeddings[None] - embeddings[:, None]
    squares = tf.reduce_sum(tf.square(differences), -1, keepdims=True)
    apart = squares > 0  # the slope of the root at 0 is infinite, and would be NaN after the 0 of the square
    return differences, tf.where(apart, tf.sqrt(tf.where(apart, squares, 1.0)), 0.0)


def _distances(outputs: Outputs, pairs: tf.Tensor) -> tf.Tensor:
    """Distances (n, n) between examples over their mean, weighed by pairs (n, n)."""
    lengths = _differences(outputs)[1][..., 0]
    return tf.math.divide_no_nan(lengths, _mean(lengths, pairs, (0, 1)))


def _cosines(outputs: Outputs) -> tf.Tensor:
    """Cosine of the angle at example i between j and k, for all (i, j, k)."""
    directions = tf.math.divide_no_nan(*_differences(outputs))
    return directions @ tf.linalg.matrix_transpose(directions)


def _distributions(maps: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
    """Attention maps (n, heads, steps, steps) with rows that sum to 1 over real positions."""
    kept = maps * real[:, None, None]
    return tf.math.divide_no_nan(kept, tf.reduce_sum(kept, -1, keepdims=True))


def _value_maps(values: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
    """Relations (n, heads, steps, steps) of value vectors (n, heads, steps, features)."""
    products = values @ tf.linalg.matrix_transpose(values) / values.shape[-1] ** 0.5
    return tf.nn.softmax(tf.where(real[:, None, None] > 0, products, -1e9))


def _relation_kl(target: tf.Tensor, model: tf.Tensor, real: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """KL of each row of two relations (n, heads, steps, steps), averaged over heads and real rows."""
    target, model = (tf.maximum(relation, EPSILON) for relation in align_heads(target, model))
    rows = tf.reduce_sum(target * (tf.math.log(target) - tf.math.log(model)), -1)
    return tf.reduce_sum(share * _mean(tf.reduce_mean(rows, 1), real, -1))
