"""Which kernels of a model get low-rank adapters."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

from fedkd.base.errors import InputError
from fedkd.base.keras_internals import all_layers
from fedkd.models.adapters import Adapter, Adapters
from fedkd.models.inspect import count, is_kernel, leading_axes, unfrozen

_KINDS = (layers.Dense, layers.EinsumDense, layers.Conv1D, layers.Conv2D)


class Lora(NamedTuple):
    """How adapters are made.

    Args:
        rank: r, at least 1.
        alpha: Their products count alpha / r.
        freeze_a: Whether A stays as it is drawn (Sun et al., ICLR 2024: FFA-LoRA).
    """

    rank: int
    alpha: float
    freeze_a: bool = False


class Kernel(NamedTuple):
    """A kernel, its place in ``model.weights``, and its shape as a matrix (inputs, outputs)."""

    weight: keras.Variable
    place: int
    matrix: tuple[int, int]


def adapt(
    model: keras.Model, within: Sequence[keras.layers.Layer], lora: Lora, rng: np.random.Generator, key: str
) -> keras.Model:
    """Freeze layers of a model and give their kernels adapters.

    Dense layers, also those of attention, and convolutions get one for each kernel, which is taken as the matrix from
    all of a layer's inputs to all of its outputs; all else in these layers (biases, norms, tables) stays as it is.
    Layers that are frozen already get none.

    Args:
        model: Changed in place.
        within: Layers of its graph.
        lora: How.
        rng: Draws each A, uniformly within 1 / sqrt(inputs), as the code of Hu et al. does.
        key: Setting that asks for the rank, for messages.

    Returns:
        The same model.

    Raises:
        InputError: There is no such kernel, or the rank is larger than the smaller side of one.
    """
    kernels = list(_kernels(model, [layer for layer in within if layer.trainable]))
    if not kernels:
        raise InputError(
            f"{key} must be 0 with {model.name}, got {lora.rank}: adapters are for kernels of dense layers, attention"
            " and convolutions before the head, and it has none that isn't frozen"
        )
    for kernel in kernels:
        if lora.rank > min(kernel.matrix):
            raise InputError(
                f"{key} must be at most {min(kernel.matrix)}, the smaller side of {kernel.weight.path} as a matrix"
                f" {kernel.matrix}, got {lora.rank}"
            )
    before = count(unfrozen(model))
    for layer in within:
        layer.trainable = False
    replaced = before - count(unfrozen(model))
    held = [_adapter(kernel, lora, rng) for kernel in kernels]
    for adapter in held:
        adapter.a.trainable = not lora.freeze_a
    model.adapters = Adapters(held, replaced)
    return model


def _kernels(model: keras.Model, within: Sequence[keras.layers.Layer]) -> Iterator[Kernel]:
    inside = [each for layer in within for each in all_layers(layer) if isinstance(each, _KINDS) and each.trainable]
    owners = {id(weight): each for each in inside for weight in each.weights if is_kernel(weight)}
    for place, weight in enumerate(model.weights):
        if id(weight) in owners:
            leading = leading_axes(owners[id(weight)], weight)
            rows = int(np.prod(weight.shape[:leading]))
            yield Kernel(weight, place, (rows, int(np.prod(weight.shape[leading:]))))


def _adapter(kernel: Kernel, lora: Lora, rng: np.random.Generator) -> Adapter:
    rows, columns = kernel.matrix
    bound = 1 / np.sqrt(rows)
    first = ((2 * rng.random((rows, lora.rank)) - 1) * bound).astype(np.float32)
    return Adapter(kernel.place, first, columns, lora.alpha / lora.rank, kernel.weight.path.replace("/", "_"))
