"""Plain Adam as a pure function: what Keras' own computes, bit for bit, without variables and for tables of any rows.

Keras holds a copy of every tensor, and both of its moments, for each optimiser that is made; and what it makes can't be
given fewer rows of a table (``fedkd.distill.rows``).
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fedkd.base.tensors import Weights, zeros


class Adam:
    """Adam whose moments are arguments and results, in the order in which Keras has them.

    Args:
        optimizer: One that ``serves``; not used elsewhere.
        variables: What it will train.

    Reference:
        Kingma & Ba, ICLR 2015, in the form before section 2.1, where ε stands beside the root of the plain moment.
    """

    def __init__(self, optimizer: keras.optimizers.Adam, variables: Sequence[keras.Variable]) -> None:
        self._optimizer, self._shapes = optimizer, [tuple(v.shape) for v in variables]
        self._learning_rate = float(optimizer.learning_rate)
        self._count = optimizer.iterations.dtype

    @staticmethod
    def serves(optimizer: keras.optimizers.Optimizer, variables: Sequence[keras.Variable]) -> bool:
        """Tell whether this does what an optimiser does: Keras' Adam, without any of its options."""
        if type(optimizer) is not keras.optimizers.Adam:
            return False
        options = ("amsgrad", "weight_decay", "clipnorm", "clipvalue", "global_clipnorm", "use_ema")
        more = ("loss_scale_factor", "gradient_accumulation_steps")
        if any(getattr(optimizer, option) for option in (*options, *more)):
            return False
        return not any(v.constraint is not None or getattr(v, "overwrite_with_gradient", False) for v in variables)

    def initial(self) -> Weights:
        """Variables before the first step: the step count, and by turns both moments of each tensor."""
        moments = [zeros(shape, np.dtype(np.float32)) for shape in self._shapes for _ in range(2)]
        return [np.zeros((), self._count), *moments]

    def moments_of(self, tensor: int) -> tuple[int, int]:
        """Places of a tensor's two moments in what ``initial`` returns."""
        return 1 + 2 * tensor, 2 + 2 * tensor

    def step(
        self, moments: Sequence[Any], gradients: Sequence[Any], values: Sequence[Any], rate: Any
    ) -> tuple[list[Any], list[Any]]:
        """Take one step, as ``fedkd.distill.optimizers.PureOptimizer.step``; a tensor may have any number of rows."""
        count, own = moments[0] + 1, self._optimizer
        step = tf.cast(count, tf.float32)
        corrected = [1 - tf.pow(tf.constant(beta, tf.float32), step) for beta in (own.beta_1, own.beta_2)]
        alpha = self._learning_rate * rate * tf.sqrt(corrected[1]) / corrected[0]
        after, kept = [], [count]
        for value, slope, m, v in zip(values, gradients, moments[1::2], moments[2::2], strict=True):
            m = m + (slope - m) * (1 - own.beta_1)
            v = v + (tf.square(slope) - v) * (1 - own.beta_2)
            after.append(value - m * alpha / (tf.sqrt(v) + own.epsilon))
            kept += [m, v]
        return after, kept
