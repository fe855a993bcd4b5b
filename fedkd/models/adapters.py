"""Low-rank adapters: a product of two small matrices beside a kernel that stays as it was built.

With an adapter a layer computes with W + (alpha / r) A B, of which A and B are trained. A model holds its adapters
beside its layers and not in its graph: who calls it with weights as arguments (``fedkd.distill.learner``) puts the sum
in the place of the kernel, whatever the layer; a copy (``fedkd.models.inspect.logits_model``) has the sums as its
kernels and no adapters. As in all models, what a layer whose ``trainable`` is False holds stays as it is, so the rest
of the project sees nothing but frozen layers.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np


class Factor(keras.layers.Layer):
    """One of an adapter's two matrices.

    Args:
        values: What it begins with, float32.
    """

    def __init__(self, values: np.ndarray, **kwargs: object) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.values = self.add_weight(shape=values.shape, initializer="zeros", name="factor")
        self.values.assign(values)
        self.built = True


class Adapter(keras.layers.Layer):
    """What is added to one kernel, which as a matrix has shape (m, n).

    Args:
        place: Of the kernel among the weights of the model's other layers, in the order of ``model.weights``.
        first: A, float32 (m, r).
        columns: n; B is zero, (r, n), so that the model begins as what it was without.
        scale: Of the product, alpha / r.

    Reference:
        Hu et al., ICLR 2022, section 4.1.
    """

    def __init__(self, place: int, first: np.ndarray, columns: int, scale: float, name: str) -> None:
        super().__init__(name=name)
        self.place, self.scale = place, np.float32(scale)
        self.a = Factor(first, name=f"{name}_a")
        self.b = Factor(np.zeros((first.shape[1], columns), np.float32), name=f"{name}_b")
        self.built = True

    def with_product(self, kernel: Any, value: Callable[[keras.Variable], Any]) -> Any:
        """Return a kernel, a tensor, with what is added to it.

        Args:
            kernel: Of any shape that has m n numbers.
            value: Gives the tensor that takes the place of a variable.
        """
        product = keras.ops.matmul(value(self.a.values), value(self.b.values)) * self.scale
        # Added as a matrix: of a constant of more axes the converter to TFLite makes something else.
        matrix = keras.ops.reshape(kernel, tuple(product.shape))
        return keras.ops.reshape(matrix + keras.ops.cast(product, kernel.dtype), tuple(kernel.shape))

    def merged(self, kernel: np.ndarray, value: Callable[[keras.Variable], np.ndarray]) -> np.ndarray:
        """The same of arrays, float32: product by product, so that the bits are the same on every machine."""
        a, b = value(self.a.values), value(self.b.values)
        total = np.zeros((len(a), b.shape[1]), np.float32)
        for column, row in zip(a.T, b, strict=True):
            total += np.multiply.outer(column, row)
        return kernel + (total * self.scale).reshape(kernel.shape)


class Adapters(keras.layers.Layer):
    """All adapters of a model.

    Args:
        held: Adapters.
        replaced: How many numbers would be trained in the place of theirs if there were none.
    """

    def __init__(self, held: Sequence[Adapter], replaced: int) -> None:
        super().__init__(name="adapters")
        self.held, self.replaced = list(held), replaced
        self.built = True


def adapters_of(model: keras.Model) -> Sequence[Adapter]:
    """Return a model's adapters; none where it has none."""
    found = getattr(model, "adapters", None)
    return found.held if isinstance(found, Adapters) else ()


def factors_of(model: keras.Model) -> list[keras.Variable]:
    """Return both matrices of each of a model's adapters, trained or not."""
    return [factor.values for adapter in adapters_of(model) for factor in (adapter.a, adapter.b)]


def replaced_by_adapters(model: keras.Model) -> int:
    """Return how many numbers of a model its adapters are trained in the place of."""
    found = getattr(model, "adapters", None)
    return found.replaced if isinstance(found, Adapters) else 0
