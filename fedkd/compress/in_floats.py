"""A quantization-aware model without what it rounds."""

import keras
from keras import layers

from fedkd.compress.fake_quant import ActivationRange, QuantDenseBatchNorm
from fedkd.compress.layers import TRAITS
from fedkd.models.graph import Chain, copy, rebuild

_FLOATS = {traits.twin: traits.layer for traits in TRAITS.values() if traits.twin and traits.layer}


def in_floats(model: keras.Model) -> keras.Model:
    """Return a copy of a model that rounds nothing: of one that isn't quantization-aware, a plain copy.

    Args:
        model: Functional; not changed.
    """
    plain = rebuild(model, _unrounded)
    for layer in model.layers:
        held = layer.get_weights()
        if isinstance(layer, QuantDenseBatchNorm):
            plain.get_layer(layer.norm.name).set_weights(layer.norm.get_weights())
            held = held[: -len(layer.norm.weights)]
        if held and not isinstance(layer, ActivationRange):
            plain.get_layer(layer.name).set_weights(held)
    return plain


def _unrounded(operation: keras.Operation) -> keras.Operation | Chain:
    if isinstance(operation, ActivationRange):
        name, ceiling = operation.name, operation.ceiling
        return layers.Identity(name=name) if ceiling is None else layers.ReLU(max_value=ceiling, name=name)
    if isinstance(operation, QuantDenseBatchNorm):
        config = {key: value for key, value in operation.get_config().items() if key not in ("norm", "activation")}
        parts = [layers.Dense.from_config(config), copy(operation.norm)]
        # Its activation is linear: only such a layer takes in a normalisation.
        return Chain(operation.name, parts)
    if type(operation) not in _FLOATS:
        return copy(operation)
    config = operation.get_config()
    return _FLOATS[type(operation)].from_config({key: value for key, value in config.items() if key != "per_tensor"})
