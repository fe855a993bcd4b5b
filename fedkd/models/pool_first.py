"""A model that pools before it adds biases and applies activations: the same function, on a quarter of the numbers.

The largest of some numbers stays the largest when each is shifted alike and mapped by a function that never falls, so
max(f(x + b)) = f(max(x) + b), bit for bit, as rounding never falls either. The gradient is the same too, but where
numbers become equal by that rounding, of which a maximum picks one. The sum of a bias' gradient has another order.
"""

from typing import Any

import keras
from keras import layers

from fedkd.base.errors import InputError
from fedkd.base.keras_internals import all_layers
from fedkd.models.graph import Chain, Graph, Node, functional, graph_of, rebuild

_CONVOLUTIONS = (layers.Conv1D, layers.Conv2D)
_POOLINGS = (layers.MaxPooling1D, layers.MaxPooling2D, layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D)
# Activations that never fall, as computed: between neighbouring numbers TensorFlow's tanh, elu and sigmoid do.
_RISING = ("linear", "relu", "relu6", "leaky_relu")


class Start(layers.Layer):
    """A convolution without its bias and activation.

    Args:
        convolution: The layer whose kernel it has.
    """

    def __init__(self, convolution: layers.Layer) -> None:
        super().__init__(dtype=convolution.dtype_policy)
        self.convolution, self.built = convolution, True

    def call(self, x: Any) -> Any:
        """Return the convolution of x alone."""
        return self.convolution.convolution_op(x, self.convolution.kernel)


class End(layers.Layer):
    """A convolution's bias and activation.

    Args:
        convolution: The layer whose bias and activation they are.
    """

    def __init__(self, convolution: layers.Layer) -> None:
        super().__init__(dtype=convolution.dtype_policy)
        self.convolution, self.built = convolution, True

    def call(self, x: Any) -> Any:
        """Return activation(x + bias), of the shape of x (n, ..., channels)."""
        if self.convolution.use_bias:
            x = keras.ops.add(x, keras.ops.cast(self.convolution.bias, x.dtype))
        return self.convolution.activation(x)


def pooled_first(model: keras.Model) -> keras.Model:
    """Move biases and activations that only a max pooling reads behind it.

    Args:
        model: Any; not changed. It is returned itself where nothing can be moved.

    Returns:
        A model of the same layers and variables, and of a few more layers without any of their own.
    """
    if not any(type(layer) in _POOLINGS for layer in all_layers(model)):
        return model
    try:
        plain = functional(model)
        moved = _moved(graph_of(plain, make=lambda operation: operation))
    except InputError:
        return model  # a graph that can't be seen, or that calls a layer twice
    return _made_over(plain, moved) if moved else model


def _moved(graph: Graph) -> dict[str, layers.Layer]:
    """By name of a max pooling, the layer before it whose end it can take over."""
    readers, found = graph.sole_readers(), {}
    for node in graph.nodes:
        pooling = readers.get(node.name)
        if pooling is not None and type(pooling.operation) in _POOLINGS and _can_follow(node, pooling):
            found[pooling.name] = node.operation
    return found


def _can_follow(node: Node, pooling: Node) -> bool:
    layer, after = node.operation, pooling.operation
    known = (*_CONVOLUTIONS, layers.Activation, layers.ReLU)
    if type(layer) not in known or layer.activity_regularizer or after.activity_regularizer:
        return False
    if layer.compute_dtype != after.compute_dtype:
        return False
    if type(layer) is layers.ReLU:
        return bool(layer.threshold == 0 and layer.negative_slope >= 0)
    if not any(layer.activation is getattr(keras.activations, name) for name in _RISING):
        return False
    if type(layer) is layers.Activation:
        return True
    return layer.padding != "causal" and (layer.use_bias or layer.activation is not keras.activations.linear)


def _made_over(model: keras.Model, moved: dict[str, layers.Layer]) -> keras.Model:
    cut = {layer.name for layer in moved.values()}

    def make(operation: keras.Operation) -> Any:
        if operation.name in cut:
            return Start(operation) if type(operation) in _CONVOLUTIONS else Chain(operation.name, [])
        if operation.name in moved:
            layer = moved[operation.name]
            return Chain(operation.name, [operation, End(layer) if type(layer) in _CONVOLUTIONS else layer])
        return operation

    return rebuild(model, make)
