"""Ids of words and categories on their way to what looks them up: integers, or no integer file can hold them."""

from collections.abc import Sequence
from typing import Any

import keras

from fedkd.base.errors import InputError
from fedkd.base.keras_internals import all_layers
from fedkd.models.graph import calls_behind

# What looks ids up, beside layers that hold a table.
_LOOKUPS = ("Cast", "CategoryEncoding", "OneHot")


def check_ids(model: keras.Model) -> None:
    """Raise InputError where ids enter a model as floats: 8 bits hold too few, and rounding one gives another word.

    Args:
        model: Functional or Sequential.
    """
    for tensor, (operation, inputs) in calls_behind(model.outputs):
        if isinstance(operation, keras.Model):
            check_ids(operation)
        if _looks_up(operation, tensor) and _floats_enter(inputs):
            raise InputError(
                f"word ids of {operation.name!r} must be integers, got floats; give their Input dtype='int32'"
            )


def _looks_up(operation: Any, tensor: keras.KerasTensor) -> bool:
    """Whether an operation takes ids, as a table does, or makes some of floats."""
    kind = type(operation).__name__
    if kind in _LOOKUPS:
        return kind != "Cast" or keras.backend.is_int_dtype(tensor.dtype)
    layers = all_layers(operation) if isinstance(operation, keras.layers.Layer) else []
    return not isinstance(operation, keras.Model) and any(isinstance(each, keras.layers.Embedding) for each in layers)


def _floats_enter(tensors: Sequence[keras.KerasTensor]) -> bool:
    """Whether one is made of an input of floats by operations without weights: then it may still hold ids."""
    calls = calls_behind(tensors, beyond=lambda operation: not getattr(operation, "weights", ()))
    return any(not call.inputs and keras.backend.is_float_dtype(tensor.dtype) for tensor, call in calls)
