"""The losses of FedKD on one batch (Wu et al. 2022, eqs 1-7), of whatever a task's objective loses by an answer.

Further kinds of knowledge, each with a weight of its own, are in ``fedkd.distill.knowledge``.

``share`` is each example's share of the batch, shape (n,), summing to 1: padding has none.
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from fedkd.base.errors import InputError
from fedkd.config.sections import LossConfig
from fedkd.distill.alignment import align, align_heads
from fedkd.distill.knowledge import EPSILON, switched_on
from fedkd.models.inspect import Outputs
from fedkd.objectives.losses import mse
from fedkd.objectives.objective import Objective


class Totals(NamedTuple):
    """L_t and L_s (eqs 6-7), scalars."""

    teacher: tf.Tensor
    student: tf.Tensor


def projection_shapes(teacher: Outputs, student: Outputs) -> list[tuple[int, int]]:
    """Shapes (student features, teacher features) of W_h, one a matched pair of layers.

    Raises:
        InputError: A matched pair differs in more than its features.
    """
    shapes = []
    for t, s in align(len(teacher.hidden), len(student.hidden)):
        left, right = tuple(teacher.hidden[t].shape), tuple(student.hidden[s].shape)
        if left[1:-1] != right[1:-1]:
            raise InputError(
                f"hidden states must differ in features only: teacher layer {t} has {left[1:]}, student layer {s}"
                f" {right[1:]}; set loss.hidden = false or pool both models alike"
            )
        shapes.append((right[-1], left[-1]))
    return shapes


def hidden_loss(teacher: Outputs, student: Outputs, projection: Sequence[tf.Tensor], share: tf.Tensor) -> tf.Tensor:
    """MSE(H_t, H_s W_h) + MSE(A_t, A_s), each summed over matched layers (eqs 3-4, before the weight 1/D).

    What models make of padding differs in nothing: it isn't the example's, and the mean over its positions counts 0.
    """
    real = [outputs.mask for outputs in (teacher, student) if outputs.mask is not None]
    pairs = [
        (teacher.hidden[t], student.hidden[s] @ w, 1)
        for (t, s), w in zip(align(len(teacher.hidden), len(student.hidden)), projection, strict=True)
    ]
    pairs += [
        (*align_heads(teacher.attention[t], student.attention[s]), 2)
        for t, s in align(len(teacher.attention), len(student.attention))
        if teacher.attention[t].shape[2:] == student.attention[s].shape[2:]
    ]
    apart = [mse(_of_words(left, real, axis), _of_words(right, real, axis), share) for left, right, axis in pairs]
    return tf.add_n([tf.zeros(()), *apart])


def _of_words(tensor: tf.Tensor, real: Sequence[tf.Tensor], axis: int) -> tf.Tensor:
    """A tensor with 0 at the padding along an axis, by masks (n, positions) of as many; others say nothing of it."""
    for mask in real:
        if mask.shape[1] == tensor.shape[axis]:
            ones = [1] * len(tensor.shape)
            tensor *= tf.reshape(mask, [-1, *ones[1:axis], mask.shape[1], *ones[axis + 1 :]])
    return tensor


def confidence(task_teacher: tf.Tensor, task_student: tf.Tensor, config: LossConfig) -> tf.Tensor:
    """D = CE_t + CE_s + ε, the task losses, whose inverse weighs what models teach each other; 1 if not adaptive.

    A constant for the gradient unless ``config.undetached``: else the coefficient of the CE gradient would be
    1 - (KL + MSE) / D², which turns negative once both models agree with the labels.
    """
    if not config.adaptive:
        return tf.ones(())
    total = task_teacher + task_student + EPSILON
    return total if config.undetached else tf.stop_gradient(total)


def mutual_losses(
    teacher: Outputs,
    student: Outputs,
    projection: Sequence[tf.Tensor],
    target: tf.Tensor,
    share: tf.Tensor,
    config: LossConfig,
    objective: Objective,
    task_share: tf.Tensor | None = None,
) -> Totals:
    """L_t and L_s of one batch.

    Args:
        teacher: The teacher's outputs on n examples.
        student: The student's outputs on the same examples.
        projection: W_h of each matched layer pair, shapes (d_s, d_t).
        target: Of each example, shape (n, ...).
        share: Shape (n,), sums to 1.
        config: Switches.
        objective: Of the task.
        task_share: Each example's share of the task loss, shape (n,), where classes count differently; else None.

    Returns:
        Totals. The gradient of their sum is, for each model, that of its own total: the peer is a constant in it
        (unless ``config.undetached``, which gives the gradient of the sum, as the published code does).

    Reference:
        Wu et al. 2022, eqs 1-7.
    """
    counts = share if task_share is None else task_share
    task_t, task_s = (objective.loss(model.logits, target, counts) for model in (teacher, student))
    d = confidence(task_t, task_s, config)
    still_t, still_s = (teacher, student) if config.undetached else (_constant(teacher), _constant(student))
    total_t, total_s = task_t, task_s
    if config.mutual:
        total_t += objective.divergence(still_s.logits, teacher.logits, share, config.temperature) / d
        total_s += objective.divergence(still_t.logits, student.logits, share, config.temperature) / d
    if config.hidden:
        still_w = projection if config.undetached else [tf.stop_gradient(w) for w in projection]
        total_t += hidden_loss(teacher, still_s, still_w, share) / d
        total_s += hidden_loss(still_t, student, projection, share) / d
    for weight, kind in switched_on(config):
        total_t += weight * kind(still_s, teacher, share) / d
        total_s += weight * kind(still_t, student, share) / d
    return Totals(total_t, total_s)


def _constant(outputs: Outputs) -> Outputs:
    return outputs.map(tf.stop_gradient)
