"""Kernels of low rank as two layers, where that saves multiplications."""

from typing import Any

import keras
import numpy as np
from keras import layers

from fedkd.base.errors import InputError
from fedkd.compress.layers import inherited_traits, makes_channels
from fedkd.exchange.spectrum import rank_for_energy
from fedkd.models.graph import Chain, copy, functional, graph_of, rebuild


def low_rank(model: keras.Model, energy: float) -> keras.Model:
    """Return a copy of a model whose convolutions and dense layers are two each, with few channels between them.

    A convolution of k x k becomes one of k x k with fewer filters and one of 1 x 1; a dense layer becomes two. Between
    them are as few channels as keep the energy; layers that this wouldn't make cheaper stay as they are.

    Args:
        model: Functional or Sequential; not changed.
        energy: Share of the squared singular values of a kernel, as a matrix (inputs, outputs), that is kept at least,
            in (0, 1].

    Raises:
        InputError: ``energy`` breaks its rule, a kernel isn't finite, or the model's graph can't be seen.

    Reference:
        Zhang et al., TPAMI 2016 (accelerating very deep networks), sections 3.1 and 3.3.
    """
    if not 0 < energy <= 1:
        raise InputError(f"energy must be in (0, 1] (share of the squared singular values that is kept), got {energy}")
    plain = functional(model)
    halves = {n.name: pair for n in graph_of(plain).nodes if (pair := _halves(n.operation, energy))}

    def make(operation: keras.Operation) -> Any:
        pair = halves.get(operation.name)
        return copy(operation) if pair is None else _two(operation, pair[0].shape[-1])

    thin = rebuild(plain, make)
    for layer in plain.layers:
        held = layer.get_weights()
        if layer.name in halves:
            first, second = halves[layer.name]
            thin.get_layer(f"{layer.name}_basis").set_weights([first])
            held = [second, *held[1:]]
        if held:
            thin.get_layer(layer.name).set_weights(held)
    return thin


def _halves(layer: keras.Operation, energy: float) -> tuple[np.ndarray, np.ndarray] | None:
    """Kernels of the two layers, None where one is cheaper."""
    of_one = inherited_traits(layer).kernel
    if of_one is None or of_one.place or not makes_channels(layer):
        return None
    kernel = layer.get_weights()[0]
    matrix = kernel.reshape(-1, kernel.shape[-1])
    if not np.isfinite(matrix).all():
        raise InputError(f"layer {layer.name!r}: its kernel must be finite, got NaN or infinity")
    if not matrix.any():
        return None
    left, spectrum, right = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    rank = rank_for_energy(spectrum**2, energy)
    if rank * sum(matrix.shape) >= matrix.size:
        return None
    root = np.sqrt(spectrum[:rank])
    second = (root[:, None] * right[:rank]).reshape(*(1 for _ in kernel.shape[:-2]), rank, -1)
    return (left[:, :rank] * root).reshape(*kernel.shape[:-1], rank), second


def _two(layer: keras.layers.Layer, rank: int) -> Chain:
    """The layer's inputs in fewer channels, then its outputs, bias and activation."""
    config = {**layer.get_config(), "name": f"{layer.name}_basis", "use_bias": False, "activation": "linear"}
    if isinstance(layer, layers.Dense):
        first = type(layer).from_config({**config, "units": rank})
        return Chain(layer.name, [first, copy(layer)])
    first = type(layer).from_config({**config, "filters": rank})
    one = (1,) * len(layer.kernel_size)
    second = {**layer.get_config(), "kernel_size": one, "strides": one, "dilation_rate": one, "padding": "valid"}
    return Chain(layer.name, [first, type(layer).from_config(second)])
