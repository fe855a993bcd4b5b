"""BatchNormalization as part of the convolution or dense layer before it, as a converter makes it."""

from typing import Any

import keras
import numpy as np
from keras import layers

from fedkd.compress.layers import inherited_traits
from fedkd.models.graph import Graph, copy, functional, graph_of, rebuild


def folds(graph: Graph) -> dict[str, str]:
    """Names of the normalisations behind a convolution or dense layer that nothing else reads, and of these layers."""
    readers, found = graph.sole_readers(), {}
    for node in graph.nodes:
        reader = readers.get(node.name)
        if reader is None or not isinstance(reader.operation, layers.BatchNormalization):
            continue
        linear = inherited_traits(node.operation).folds and node.activation == "linear"
        if linear and reader.operation.axis in (-1, len(reader.shape) - 1):
            found[reader.name] = node.name
    return found


def folded(model: keras.Model) -> keras.Model:
    """Return a copy of a model without the normalisations that layers before them can take in: it computes the same.

    For clusters above all: a file has only the folded kernel, whose filters a normalisation would scale apart.

    Args:
        model: Functional or Sequential, trained; not changed.

    Raises:
        InputError: The model's graph can't be seen, or calls a layer twice.

    Reference:
        Jacob et al., CVPR 2018, section 3.2, eq. 14.
    """
    plain = functional(model)
    norms = folds(graph_of(plain))
    convolutions = {convolution: norm for norm, convolution in norms.items()}

    def make(operation: keras.Operation) -> keras.Operation:
        if operation.name not in convolutions:
            return copy(operation)
        return type(operation).from_config({**operation.get_config(), "use_bias": True})

    def call(operation: Any, sources: tuple[str, ...], *args: Any, **kwargs: Any) -> Any:
        return args[0] if operation.name in norms else operation(*args, **kwargs)

    whole = rebuild(plain, make, call)
    for layer in plain.layers:
        if layer.name in convolutions:
            held = _taken_in(layer, plain.get_layer(convolutions[layer.name]))
            whole.get_layer(layer.name).set_weights(held)
        elif layer.weights and layer.name not in norms:
            whole.get_layer(layer.name).set_weights(layer.get_weights())
    return whole


def _taken_in(convolution: layers.Layer, norm: layers.BatchNormalization) -> list[np.ndarray]:
    """The convolution's weights with the normalisation's in them."""
    mean, variance = np.asarray(norm.moving_mean, np.float64), np.asarray(norm.moving_variance, np.float64)
    scale = (np.asarray(norm.gamma, np.float64) if norm.scale else 1.0) / np.sqrt(variance + norm.epsilon)
    shift = np.asarray(norm.beta, np.float64) if norm.center else 0.0
    *kernels, last = convolution.get_weights()[: -1 if convolution.use_bias else None]
    bias = np.asarray(convolution.bias, np.float64) if convolution.use_bias else 0.0
    kernel = inherited_traits(convolution).kernel
    # A transposed convolution's has the channels that it gives before those that it reads.
    channels = last.shape[-kernel.axes :] if kernel else (last.shape[-2], 1)
    return [*kernels, last * scale.reshape(channels), (bias - mean) * scale + shift]
