"""A model that pools before it adds biases and applies activations: the same function, on a quarter of the numbers.

The largest of some numbers stays the largest when each is shifted alike and mapped by a function that never falls, so
max(f(x + b)) = f(max(x) + b), bit for bit, as rounding never falls either. The gradient is the same too, but where
numbers become equal by that rounding or where f is flat, of which a maximum picks one. The sum of a bias' gradient has
another order.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import layers

from fedkd.errors import InputError
from fedkd.models.graph import Chain, Graph, copy, functional, graph_of, rebuild
from fedkd.models.inspect import layer_modules

_CONVOLUTIONS = (layers.Conv1D, layers.Conv2D)
_POOLINGS = (layers.MaxPooling1D, layers.MaxPooling2D, layers.GlobalMaxPooling1D, layers.GlobalMaxPooling2D)
# Activations that never fall and work on each number for itself.
_RISING = ("linear", "relu", "relu6", "leaky_relu", "elu", "selu", "sigmoid", "tanh", "softplus", "softsign")


class PooledFirst(NamedTuple):
    """A model made over.

    Args:
        model: With variables of its own.
        places: By id of each of its weights, which of the first model's ``weights`` it stands for.
    """

    model: keras.Model
    places: dict[int, int]


class Bias(layers.Layer):
    """Adds a number a channel."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Make the bias (channels,)."""
        self.bias = self.add_weight(shape=(shape[-1],), initializer="zeros", name="bias")

    def call(self, x: Any) -> Any:
        """Return x + bias, of the shape of x (n, ..., channels)."""
        return keras.ops.add(x, keras.ops.cast(self.bias, x.dtype))


def pooled_first(model: keras.Model) -> PooledFirst:
    """Move biases and activations that only a max pooling reads behind it.

    Args:
        model: Any; not changed. It is returned itself where nothing can be moved.
    """
    same = PooledFirst(model, {id(weight): place for place, weight in enumerate(model.weights)})
    if layer_modules(model) or not any(type(layer) in _POOLINGS for layer in model._flatten_layers()):
        return same
    try:
        plain = functional(model)
        moved = _moved(graph_of(plain))
    except InputError:
        return same  # a graph that can't be seen, or that calls a layer twice
    return _made_over(plain, moved) if moved else same


def _moved(graph: Graph) -> dict[str, keras.layers.Layer]:
    """By name of a max pooling, the layer before it whose end it can take over."""
    readers, found = graph.sole_readers(), {}
    for node in graph.nodes:
        pooling = readers.get(node.name)
        if pooling is not None and type(pooling.operation) in _POOLINGS and _movable(node.operation):
            found[pooling.name] = node.operation
    return found


def _movable(layer: keras.Operation) -> bool:
    if type(layer) is layers.ReLU:
        return bool(layer.threshold == 0 and layer.negative_slope >= 0)
    if type(layer) is layers.Activation:
        return _rises(layer.activation)
    if type(layer) not in _CONVOLUTIONS or not (layer.trainable and _rises(layer.activation)):
        return False
    watched = (layer.activity_regularizer, layer.bias_regularizer, layer.bias_constraint)
    ends = layer.use_bias or layer.activation is not keras.activations.linear
    return ends and not any(watched) and len(layer.weights) == 1 + layer.use_bias


def _rises(activation: Any) -> bool:
    return any(activation is getattr(keras.activations, name) for name in _RISING)


def _made_over(model: keras.Model, moved: dict[str, keras.layers.Layer]) -> PooledFirst:
    cut = {layer.name: layer for layer in moved.values()}

    def make(operation: keras.Operation) -> Any:
        if operation.name in cut:
            return _without_end(operation)
        if operation.name in moved:
            return Chain(operation.name, [copy(operation), *_end(moved[operation.name])])
        return copy(operation)

    new = rebuild(model, make)
    place = {id(weight): i for i, weight in enumerate(model.weights)}
    places: dict[int, int] = {}
    for layer in model.layers:
        for ours, theirs in zip(_weights_of(new, layer, layer.name in cut), layer.weights, strict=True):
            places[id(ours)] = place[id(theirs)]
    return PooledFirst(new, places)


def _without_end(layer: keras.layers.Layer) -> Any:
    if type(layer) not in _CONVOLUTIONS:
        return Chain(layer.name, [])
    return type(layer).from_config({**layer.get_config(), "use_bias": False, "activation": "linear"})


def _end(layer: keras.layers.Layer) -> Sequence[keras.layers.Layer]:
    """What is left to do after pooling."""
    if type(layer) not in _CONVOLUTIONS:
        return [copy(layer)]
    bias = [Bias(name=_bias_name(layer), dtype=layer.dtype_policy)] if layer.use_bias else []
    return [*bias, layers.Activation(layer.activation, name=f"{layer.name}_activation", dtype=layer.dtype_policy)]


def _bias_name(layer: keras.layers.Layer) -> str:
    return f"{layer.name}_bias"


def _weights_of(new: keras.Model, layer: keras.layers.Layer, cut: bool) -> list[keras.Variable]:
    """The new model's weights that stand for a layer's, in their order."""
    if not layer.weights:
        return []
    own = list(new.get_layer(layer.name).weights)
    return own + list(new.get_layer(_bias_name(layer)).weights) if cut and layer.use_bias else own
