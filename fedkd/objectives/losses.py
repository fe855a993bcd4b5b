"""Losses and divergences on one batch, as functions of tensors; imported where a model is trained, not before.

``share`` is each example's share of the batch, shape (n,), summing to 1: padding has none.
"""

import tensorflow as tf


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """CE of logits (n, classes) with labels (n,): the task loss (Wu et al. 2022, eq. 5)."""
    return tf.reduce_sum(share * tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))


def clicks_cross_entropy(scores: tf.Tensor, clicks: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """CE of softmax over the scores (n, candidates) with the clicks of a row, alike for each of several.

    ``clicks`` are 1 or 0, and below 0 where there is no candidate. A row without clicks loses nothing.

    Reference:
        Wu et al., EMNLP 2019 (NRMS), eqs 7-8, where a row has one.
    """
    absent = tf.cast(clicks < 0, scores.dtype)
    clicked = tf.cast(clicks > 0, scores.dtype)
    log_shares = tf.nn.log_softmax(scores - 1e9 * absent)
    each = tf.reduce_sum(clicked * log_shares, -1) / tf.maximum(tf.reduce_sum(clicked, -1), 1.0)
    return -tf.reduce_sum(share * each)


def kl(target: tf.Tensor, model: tf.Tensor, share: tf.Tensor, temperature: float = 1.0) -> tf.Tensor:
    """KL(softmax(target/τ) || softmax(model/τ)) τ², summed over classes (eqs 1-2; τ² as Hinton et al. 2015)."""
    log_target = tf.nn.log_softmax(target / temperature)
    log_model = tf.nn.log_softmax(model / temperature)
    return temperature**2 * tf.reduce_sum(share * tf.reduce_sum(tf.exp(log_target) * (log_target - log_model), -1))


def mse(a: tf.Tensor, b: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """Mean squared difference of two tensors (n, ...) over all but the first axis."""
    return tf.reduce_sum(share * tf.reduce_mean(tf.square(a - b), axis=list(range(1, len(a.shape)))))


def binary_cross_entropy(logits: tf.Tensor, labels: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    """CE of logits (n, labels) with 0/1 labels (n, labels), each label by itself: the mean over labels."""
    losses = tf.nn.sigmoid_cross_entropy_with_logits(tf.cast(labels, logits.dtype), logits)
    return tf.reduce_sum(share * tf.reduce_mean(losses, -1))


def binary_kl(target: tf.Tensor, model: tf.Tensor, share: tf.Tensor, temperature: float = 1.0) -> tf.Tensor:
    """KL(sigmoid(target/τ) || sigmoid(model/τ)) τ² of each label by itself: the mean over labels."""
    a, b = target / temperature, model / temperature
    on, off = tf.sigmoid(a), tf.sigmoid(-a)
    each = on * (tf.math.log_sigmoid(a) - tf.math.log_sigmoid(b)) + off * (
        tf.math.log_sigmoid(-a) - tf.math.log_sigmoid(-b)
    )
    return temperature**2 * tf.reduce_sum(share * tf.reduce_mean(each, -1))


def two_logits(logits: tf.Tensor) -> tf.Tensor:
    """Logits (n, 2) of the same two probabilities as one sigmoid unit's (n, 1); others as they are."""
    return tf.concat([tf.zeros_like(logits), logits], -1) if logits.shape[-1] == 1 else logits
