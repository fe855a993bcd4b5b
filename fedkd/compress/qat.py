"""A model that trains with what int8 does to its kernels and activations."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

from fedkd.base.affine import scale_and_zero
from fedkd.base.errors import InputError
from fedkd.compress.fake_quant import ActivationRange, QuantDenseBatchNorm, QuantDepthwiseConv2D
from fedkd.compress.file_tensors import FUSED, Calls
from fedkd.compress.ids import check_ids
from fedkd.compress.layers import traits_of
from fedkd.models.graph import Chain, activation_name, copy, functional, graph_of, rebuild

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
    calls = Calls(graph_of(plain))

    joined = calls.joined()
    normalised = {dense: norm for norm, dense in joined.items()}

    def make(operation: Any) -> Any:
        if operation.name in normalised:
            return _normalised(operation, plain.get_layer(normalised[operation.name]))
        # Its range cuts where it would, and TFLite has it with other ceilings as operations of their own.
        if calls.ceiling(operation.name) is not None:
            return layers.ReLU(name=operation.name)
        return _rounded(operation, per_tensor)

    def call(operation: Any, sources: tuple[str, ...], *args: Any, **kwargs: Any) -> Any:
        out = args[0] if operation.name in joined else operation(*args, **kwargs)
        ends = calls.end_in_a_tensor(operation.name)
        return _ranged(out, operation.name, calls.ceiling(operation.name)) if ends else out

    aware = rebuild(plain, make, call, enter=lambda tensor: _ranged(tensor, tensor.name))
    for layer in plain.layers:
        if layer.weights:
            _give(layer, aware, joined)
    return QuantizeAware(aware, calls.skipped())


def skipped(model: keras.Model) -> dict[str, str]:
    """The layers whose rounding a quantization-aware copy of a model wouldn't see, and why; errors of that."""
    plain = functional(model)
    check_ids(plain)
    return Calls(graph_of(plain)).skipped()


def unaware(aware: keras.Model, plain: keras.Model) -> keras.Model:
    """Give a model the weights of its quantization-aware copy, which it returns: the numbers before they are rounded.

    Args:
        aware: From ``quantize_aware(plain)``, trained; not changed.
        plain: Changed in place.
    """
    flat = functional(plain)
    joined = Calls(graph_of(flat)).joined()
    for layer in flat.layers:
        if layer.weights:
            layer.set_weights(_taken(layer, aware, joined))
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
        InputError: A range is empty, for the model wasn't trained or a layer is dead, or it isn't finite.
    """
    ranges = [layer for layer in model.layers if isinstance(layer, ActivationRange)]
    ends = {layer.name: (float(layer.low), float(layer.high)) for layer in ranges}
    if ends and all(low == high for low, high in ends.values()):
        raise InputError(f"{model.name} must be trained before its scales are read, got ranges that are all empty")
    return {name: _scale(name, low, high) for name, (low, high) in ends.items()}


def _scale(name: str, low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of a range, or an InputError that names the layer before it."""
    layer = name.removesuffix("_range")
    if low == high:
        raise InputError(
            f"layer {layer!r} must give something else than 0 on what the model was trained with, got a dead layer;"
            " take it out, or train the model again from other weights or with a lower learning rate"
        )
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(
            f"layer {layer!r} must give finite numbers, got {low} to {high}; train it again with a lower learning rate"
        )
    return scale_and_zero(low, high, 8)


def _ranged(tensor: keras.KerasTensor, name: str, ceiling: float | None = None) -> keras.KerasTensor:
    """Put a range behind a tensor of floats; ids and masks have none."""
    floats = keras.backend.is_float_dtype(tensor.dtype)
    return ActivationRange(name=f"{name}_range", ceiling=ceiling)(tensor) if floats else tensor


def _normalised(dense: layers.Dense, norm: layers.BatchNormalization) -> QuantDenseBatchNorm:
    """What takes the place of a dense layer and the normalisation behind it."""
    return QuantDenseBatchNorm(norm=copy(norm), **dense.get_config())


def _rounded(operation: keras.Operation, per_tensor: bool) -> keras.Operation | Chain:
    """What takes the place of an operation."""
    traits, activation = traits_of(operation), activation_name(operation)
    if traits.apart:
        return _apart(operation, per_tensor)
    if traits.twin is None:
        return copy(operation)
    config = operation.get_config() | ({"per_tensor": per_tensor} if traits.per_filter else {})
    if activation in FUSED:
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


def _taken(layer: keras.layers.Layer, aware: keras.Model, joined: Mapping[str, str]) -> list[np.ndarray]:
    """A layer's weights, from the layer, the two or the part of one that stand for it."""
    if layer.name in joined:
        return aware.get_layer(joined[layer.name]).norm.get_weights()
    weights = aware.get_layer(layer.name).get_weights()
    if traits_of(layer).apart:
        return aware.get_layer(f"{layer.name}_depthwise").get_weights() + weights
    return weights[: len(layer.weights)]  # before those of a normalisation


def _give(layer: keras.layers.Layer, aware: keras.Model, joined: Mapping[str, str]) -> None:
    weights = layer.get_weights()
    if layer.name in joined:
        aware.get_layer(joined[layer.name]).norm.set_weights(weights)
        return
    if traits_of(layer).apart:
        aware.get_layer(f"{layer.name}_depthwise").set_weights(weights[:1])
        weights = weights[1:]
    twin = aware.get_layer(layer.name)
    twin.set_weights([*weights, *twin.get_weights()[len(weights) :]])
