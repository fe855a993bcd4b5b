"""SGD and Adam as pure functions of flat vectors.

Keras' optimisers update variables in place and refuse ``stateless_apply`` on TensorFlow, so they can't serve many
clients from one compiled function. These follow Keras' own formulas; a test compares them step by step.
"""

from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from fedkd.tensors import Weights


class Optimizer(Protocol):
    """Turns gradients into the change of the weights."""

    def initial(self, size: int) -> Weights:
        """Moments before the first step, for ``size`` trainable numbers."""

    def step(self, moments: list[Any], gradient: Any) -> tuple[Any, list[Any]]:
        """Return what to add to the weights, shape (size,), and the moments after the step."""


class SGD:
    """Plain stochastic gradient descent: -η g. It has no moments.

    Args:
        learning_rate: η.
    """

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate

    def initial(self, size: int) -> Weights:
        """No moments."""
        return []

    def step(self, moments: list[Any], gradient: Any) -> tuple[Any, list[Any]]:
        """Return -η g."""
        return -self.learning_rate * gradient, moments


class Adam:
    """Adam with Keras' placement of ε.

    Args:
        learning_rate: η.

    Reference:
        Kingma & Ba, ICLR 2015, section 2, last paragraph (the form with the corrected step size).
    """

    BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7

    def __init__(self, learning_rate: float) -> None:
        self.learning_rate = learning_rate

    def initial(self, size: int) -> Weights:
        """Step count (scalar), first and second moment (size,), all float32 and 0."""
        return [np.zeros((), np.float32), np.zeros(size, np.float32), np.zeros(size, np.float32)]

    def step(self, moments: list[Any], gradient: Any) -> tuple[Any, list[Any]]:
        """Return -η √(1-β₂ᵗ)/(1-β₁ᵗ) m / (√v + ε)."""
        count, first, second = moments
        count = count + 1.0
        first = first + (gradient - first) * (1 - self.BETA_1)
        second = second + (tf.square(gradient) - second) * (1 - self.BETA_2)
        rate = self.learning_rate * tf.sqrt(1 - self.BETA_2**count) / (1 - self.BETA_1**count)
        return -rate * first / (tf.sqrt(second) + self.EPSILON), [count, first, second]


OPTIMIZERS: dict[str, type[SGD] | type[Adam]] = {"adam": Adam, "sgd": SGD}
