"""A model that trains with what int8 does to its kernels and activations."""

from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

from fedkd.base.affine import scale_and_zero
from fedkd.base.errors import InputError
from fedkd.compress.fake_quant import ActivationRange, QuantDepthwiseConv2D
from fedkd.compress.fold import folds
from fedkd.compress.ids import check_ids
from fedkd.compress.layers import NEW, traits_of
from fedkd.models.graph import Chain, Graph, Node, activation_name, copy, functional, graph_of, rebuild

# From int8 to int8 with scales that TFLite fixes.
_FIXED_SCALE = {"softmax", "sigmoid", "tanh"}
_FUSED = {"linear", "relu", "relu6"}
_STAND_INS = 16


class QuantizeAware(NamedTuple):
    """A model ready for training, and what it couldn't be made aware of.

    Args:
        model: Same inputs, outputs and weights, and ``ActivationRange`` layers, which are empty before training.
        skipped: Each layer whose rounding the model doesn't see, and why; its scales come from a calibration set.
    """

    model: keras.Model
    skipped: dict[str, str]


def quantize_aware(model: keras.Model, per_tensor: bool = False) -> QuantizeAware:
    """Return a copy of a model that rounds kernels and activations as its int8 file will.

    Train it, then convert it: the scales it learned are those of the file. Ranges stand where TFLite has tensors: after
    the inputs, and after each kernel together with the BatchNormalization and ReLU that are fused with it.

    Args:
        model: Functional or Sequential, of Keras layers; not changed.
        per_tensor: One scale a kernel in convolutions too, so that kernels of few values stay so; convert the model to
            ``int8_per_tensor`` then.

    Raises:
        InputError: The model's graph can't be seen, calls a layer twice, has word ids that are floats, or is aware.

    Reference:
        Jacob et al., CVPR 2018, section 3.
    """
    plain = functional(model)
    check_ids(plain)
    calls = _Calls(graph_of(plain))

    def call(operation: Any, sources: tuple[str, ...], *args: Any, **kwargs: Any) -> Any:
        out = operation(*args, **kwargs)
        return _ranged(out, operation.name) if calls.end_in_a_tensor(operation.name) else out

    aware = rebuild(
        plain, partial(_rounded, per_tensor=per_tensor), call, enter=lambda tensor: _ranged(tensor, tensor.name)
    )
    for layer in plain.layers:
        if layer.weights:
            _give(layer, aware)
    return QuantizeAware(aware, calls.skipped())


def skipped(model: keras.Model) -> dict[str, str]:
    """The layers whose rounding a quantization-aware copy of a model wouldn't see, and why; errors of that."""
    plain = functional(model)
    check_ids(plain)
    return _Calls(graph_of(plain)).skipped()


def unaware(aware: keras.Model, plain: keras.Model) -> keras.Model:
    """Give a model the weights of its quantization-aware copy, which it returns: the numbers before they are rounded.

    Args:
        aware: From ``quantize_aware(plain)``, trained; not changed.
        plain: Changed in place.
    """
    for layer in functional(plain).layers:
        if layer.weights:
            layer.set_weights(_taken(layer, aware))
    return plain


def stand_in_rows(aware: keras.Model, rng: np.random.Generator) -> np.ndarray:
    """Make a few rows for a converter that wants examples, within the learned range of the input; word ids are all 0.

    Only good where nothing was skipped: then the file has the learned ranges whatever the examples are.

    Args:
        aware: From ``quantize_aware``, trained, with one input.
        rng: Draws them.

    Returns:
        Array (n, *input_shape) in the input's dtype.
    """
    tensor = aware.inputs[0]
    shape = (_STAND_INS, *tensor.shape[1:])
    if not keras.backend.is_float_dtype(tensor.dtype):
        return np.zeros(shape, tensor.dtype)
    held = aware.get_layer(f"{tensor.name}_range")
    return rng.uniform(float(held.low), float(held.high), shape).astype(np.float32)


def learned_scales(model: keras.Model) -> dict[str, tuple[float, int]]:
    """Return the scale and zero point of each range that a trained model learned, which are those of its int8 file.

    Args:
        model: Of ``quantize_aware``.

    Returns:
        By the range's name.

    Raises:
        InputError: A range is empty, for the model wasn't trained.
    """
    ranges = [layer for layer in model.layers if isinstance(layer, ActivationRange)]
    return {layer.name: scale_and_zero(float(layer.low), float(layer.high), 8) for layer in ranges}


def _ranged(tensor: keras.KerasTensor, name: str) -> keras.KerasTensor:
    """Put a range behind a tensor of floats; ids and masks have none."""
    floats = keras.backend.is_float_dtype(tensor.dtype)
    return ActivationRange(name=f"{name}_range")(tensor) if floats else tensor


def _rounded(operation: keras.Operation, per_tensor: bool) -> keras.Operation | Chain:
    """What takes the place of an operation."""
    traits, activation = traits_of(operation), activation_name(operation)
    if traits.apart:
        return _apart(operation, per_tensor)
    if traits.twin is None:
        return copy(operation)
    config = operation.get_config() | ({"per_tensor": per_tensor} if traits.per_filter else {})
    if activation in _FUSED:
        return traits.twin.from_config(config)
    return _before_activation(operation, traits.twin.from_config({**config, "activation": "linear"}))


def _before_activation(layer: keras.layers.Layer, linear: keras.layers.Layer) -> Chain:
    """A layer whose activation TFLite computes apart, from a tensor with a range."""
    between = ActivationRange(name=f"{layer.name}_before_activation_range")
    return Chain(layer.name, [linear, between, layers.Activation(layer.activation, name=f"{layer.name}_activation")])


def _apart(layer: layers.SeparableConv2D, per_tensor: bool) -> Chain:
    """A separable convolution as two, so that what passes between them has a range of its own."""
    name = layer.name
    first = QuantDepthwiseConv2D(
        layer.kernel_size, strides=layer.strides, padding=layer.padding, depth_multiplier=layer.depth_multiplier,
        dilation_rate=layer.dilation_rate, use_bias=False, per_tensor=per_tensor, name=f"{name}_depthwise",
    )  # fmt: skip
    pointwise = layers.Conv2D(layer.filters, 1, activation=layer.activation, use_bias=layer.use_bias, name=name)
    second = _rounded(pointwise, per_tensor)
    parts = second.parts if isinstance(second, Chain) else [second]
    return Chain(name, [first, ActivationRange(name=f"{name}_depthwise_range"), *parts])


def _taken(layer: keras.layers.Layer, aware: keras.Model) -> list[np.ndarray]:
    """A layer's weights, from the layer or the two that stand for it."""
    weights = aware.get_layer(layer.name).get_weights()
    if traits_of(layer).apart:
        return aware.get_layer(f"{layer.name}_depthwise").get_weights() + weights
    return weights


def _give(layer: keras.layers.Layer, aware: keras.Model) -> None:
    weights = layer.get_weights()
    if traits_of(layer).apart:
        aware.get_layer(f"{layer.name}_depthwise").set_weights(weights[:1])
        weights = weights[1:]
    aware.get_layer(layer.name).set_weights(weights)


class _Calls:
    """What TFLite makes of a model's calls."""

    def __init__(self, graph: Graph) -> None:
        self._nodes = {node.name: node for node in graph.nodes}
        self._sole_reader, self._folds = graph.sole_readers(), folds(graph)
        for node in graph.nodes:
            _check(node)

    def end_in_a_tensor(self, name: str) -> bool:
        """Whether a call's output is a tensor of the file with a scale of its own."""
        node, reader = self._nodes[name], self._sole_reader.get(name)
        traits = traits_of(node.operation)
        known = traits.rounded or traits.scale == NEW or node.kind == "Activation"
        if not known or node.activation in _FIXED_SCALE:
            return False
        return reader is None or not (reader.kind == "Concatenate" or self._fused(node, reader))

    def skipped(self) -> dict[str, str]:
        """Why the scales of some layers aren't learned."""
        reasons = {name: self._reason(node) for name, node in self._nodes.items()}
        return {name: reason for name, reason in reasons.items() if reason}

    def _reason(self, node: Node) -> str:
        layer, traits = node.operation, traits_of(node.operation)
        if getattr(layer, "weights", ()) and layer.compute_dtype != "float32":
            return f"it computes in {layer.compute_dtype}"
        if node.kind == "BatchNormalization" and not self._folded(node):
            return "it follows no convolution that it could be folded into"
        if traits.pairwise and len(node.sources) != 2:
            return f"{node.kind} of {len(node.sources)} tensors takes several operations, or a constant"
        if traits.rounded or node.kind == "Activation":
            known = node.activation in _FUSED | _FIXED_SCALE
            return "" if known else f"activation {node.activation!r} takes operations of its own"
        return "" if traits.scale else f"no recipe for {node.kind}"

    def _fused(self, node: Node, reader: Node) -> bool:
        """Whether TFLite computes both in one operation, so that nothing is rounded between them."""
        if reader.kind == "BatchNormalization":
            return self._folded(reader)
        traits = traits_of(node.operation)
        before = traits.rounded and node.activation == "linear"
        before = before or traits.pairwise or (node.kind == "BatchNormalization" and self._folded(node))
        return before and _is_relu(reader)

    def _folded(self, norm: Node) -> bool:
        """Whether a normalisation becomes part of the convolution before it."""
        return norm.name in self._folds and traits_of(self._nodes[self._folds[norm.name]].operation).rounded


def _check(node: Node) -> None:
    """Raise InputError on a call for which no rounding makes sense."""
    if isinstance(node.operation, ActivationRange):
        raise InputError(f"the model is quantization-aware already: it has the range {node.name!r}")


def _is_relu(node: Node) -> bool:
    """Whether TFLite has it as the end of another operation: up to infinity or 6, nothing below 0."""
    layer = node.operation
    if isinstance(layer, layers.ReLU):
        return not layer.negative_slope and not layer.threshold and layer.max_value in (None, 6)
    return traits_of(layer).relu or (node.kind == "Activation" and node.activation in ("relu", "relu6"))
