"""The dense kernels of a model as matrices, those inside of attention and of other layers of layers included."""

import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from fedkd.base.errors import InputError
from fedkd.base.keras_internals import all_layers
from fedkd.compress.grid import LEAST
from fedkd.models.graph import copy, functional


@dataclass(frozen=True, eq=False)
class DenseKernel:
    """A kernel that each place of a layer's input is multiplied by, as a matrix.

    Args:
        name: Of the layer, behind that of the one which it is a part of, such as ``layer0_attention/query``; copies of
            a model have the same.
        layer: A Dense, or an EinsumDense that sums over the last axes of what it reads.
        axes: How many axes it sums over.
    """

    name: str
    layer: Any
    axes: int

    @property
    def inputs(self) -> int:
        """Rows of the matrix."""
        return math.prod(self.layer.kernel.shape[: self.axes])

    @property
    def worth(self) -> bool:
        """Whether files of few bits round it: the kernel of a small head stays in floats."""
        return math.prod(self.layer.kernel.shape) >= LEAST

    def matrix(self) -> np.ndarray:
        """Return it as float32 (inputs, outputs).

        Raises:
            InputError: It holds NaN or infinity.
        """
        found = np.asarray(self.layer.kernel, np.float32).reshape(self.inputs, -1)
        if not np.isfinite(found).all():
            raise InputError(f"{self.name} must be finite, got NaN or infinity")
        return found

    def assign(self, matrix: np.ndarray) -> None:
        """Put another matrix in its place, float (inputs, outputs)."""
        self.layer.kernel.assign(matrix.astype(np.float32).reshape(self.layer.kernel.shape))


def dense_kernels(model: keras.Model) -> list[DenseKernel]:
    """Find the dense kernels of a model that are worth fewer bits or numbers.

    Raises:
        InputError: There is none of 1,024 numbers or more, one isn't a plain kernel of floats, or the model's graph
            can't be seen.
    """
    found = [kernel for kernel in all_dense_kernels(model) if kernel.worth]
    if not found:
        raise InputError(f"the model must have a dense kernel of {LEAST:,} numbers or more, got none")
    for kernel in found:
        layer = kernel.layer
        if layer.lora_enabled or layer.quantization_mode:
            what = "Keras' own LoRA" if layer.lora_enabled else f"one of {layer.quantization_mode} (model.quantize)"
            raise InputError(
                f"{kernel.name} must have a plain kernel of floats, got {what}; give the model before that"
            )
    return found


def all_dense_kernels(model: keras.Model) -> list[DenseKernel]:
    """Find the dense kernels of a model, of exactly Keras' own layers: a subclass may do something else.

    Raises:
        InputError: The model's graph can't be seen, or two layers have one name.
    """
    found: dict[str, DenseKernel] = {}
    for outer in functional(model).layers:
        for layer in all_layers(outer):
            name = outer.name if layer is outer else f"{outer.name}/{layer.name}"
            if not (axes := _summed(layer)):
                continue
            if name in found:
                raise InputError(f"dense layers must have names of their own, got two of {name!r}; name one otherwise")
            found[name] = DenseKernel(name, layer, axes)
    return list(found.values())


def _summed(layer: Any) -> int:
    """Over how many of the last axes that it reads a dense layer sums; 0 for all else."""
    if not getattr(layer, "built", False):
        return 0
    if type(layer) is layers.Dense:
        return 1
    if type(layer) is not layers.EinsumDense:
        return 0
    read, rest = layer.equation.replace(" ", "").split(",")
    kernel, given = rest.split("->")
    summed = "".join(axis for axis in kernel if axis in read and axis not in given)
    matrix = read.endswith(summed) and kernel.startswith(summed) and given.endswith(kernel[len(summed) :])
    return len(summed) if matrix else 0


def copied(model: keras.Model) -> keras.Model:
    """A model of the same layers and weights.

    Raises:
        InputError: The model's graph can't be seen, or a layer can't be made again from its settings.
    """
    functional(model)
    twin = keras.models.clone_model(model, clone_function=copy)
    twin.set_weights(model.get_weights())
    return twin
