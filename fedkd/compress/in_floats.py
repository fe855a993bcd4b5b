"""A quantization-aware model without what it rounds."""

import keras

from fedkd.compress.fake_quant import ActivationRange
from fedkd.compress.layers import TRAITS
from fedkd.models.graph import copy, rebuild

_FLOATS = {traits.twin: traits.layer for traits in TRAITS.values() if traits.twin and traits.layer}


def in_floats(model: keras.Model) -> keras.Model:
    """Return a copy of a model that rounds nothing: of one that isn't quantization-aware, a plain copy.

    Args:
        model: Functional; not changed.
    """
    plain = rebuild(model, _unrounded)
    for layer in model.layers:
        if layer.weights and not isinstance(layer, ActivationRange):
            plain.get_layer(layer.name).set_weights(layer.get_weights())
    return plain


def _unrounded(operation: keras.Operation) -> keras.Operation:
    if isinstance(operation, ActivationRange):
        return keras.layers.Identity(name=operation.name)
    if type(operation) not in _FLOATS:
        return copy(operation)
    config = operation.get_config()
    return _FLOATS[type(operation)].from_config({key: value for key, value in config.items() if key != "per_tensor"})
