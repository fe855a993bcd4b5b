"""Which parts of two models are compared: layers that match, heads that match."""

import tensorflow as tf

from fedkd.models.inspect import Outputs


def align(teacher_layers: int, student_layers: int) -> list[tuple[int, int]]:
    """Pair layers (teacher, student), from 0: last with last, then evenly backwards.

    >>> align(12, 4)
    [(2, 0), (5, 1), (8, 2), (11, 3)]
    """
    pairs = min(teacher_layers, student_layers)
    return [((j + 1) * teacher_layers // pairs - 1, (j + 1) * student_layers // pairs - 1) for j in range(pairs)]


def spatial_pairs(teacher: Outputs, student: Outputs) -> list[tuple[tf.Tensor, tf.Tensor]]:
    """Matched hidden states (n, ..., features), but for those where neither model has more than one position."""
    pairs = [(teacher.hidden[t], student.hidden[s]) for t, s in align(len(teacher.hidden), len(student.hidden))]
    return [pair for pair in pairs if any(side != 1 for state in pair for side in state.shape[1:-1])]


def align_heads(a: tf.Tensor, b: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Average maps (n, heads, steps, steps) over heads, to (n, 1, steps, steps), where the head counts differ."""
    same = a.shape[1] == b.shape[1]
    return (a, b) if same else (tf.reduce_mean(a, 1, keepdims=True), tf.reduce_mean(b, 1, keepdims=True))
