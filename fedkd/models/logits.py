"""Logits of models that end in probabilities: the activation at their end is taken off, or they are refused.

A model that ends in softmax or sigmoid would else be trained on probabilities as if they were logits, which learns
something, slowly, and says nothing.
"""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from fedkd.base.errors import InputError
from fedkd.base.keras_internals import call_behind
from fedkd.models.graph import activation_name
from fedkd.models.inspect import split_outputs
from fedkd.models.news import ClickScores

_NAMES = {"softmax": "softmax", "softmax_v2": "softmax", "sigmoid": "sigmoid"}  # TensorFlow's own is softmax_v2
_CLASSES = {"Softmax": "softmax", "Sigmoid": "sigmoid"}
_LAYERS_OF_NUMBERS = (
    keras.layers.Dense,
    keras.layers.EinsumDense,
    keras.layers.Conv1D,
    keras.layers.Conv2D,
    keras.layers.Activation,
    ClickScores,
)
_ROWS, _LARGE = 16, 1e4
_VARIES = 1e-3  # of outputs: those of ranges that are still empty say nothing


def with_logits(model: keras.Model, links: Mapping[int, str]) -> keras.Model:
    """Return a model whose output is logits, where it ends in the activation that belongs behind them.

    Args:
        model: Functional; the activation of its last layer may be changed in place.
        links: By the number of outputs, the activation that makes probabilities of them: ``softmax``, ``sigmoid``, or
            empty where outputs are no logits.

    Raises:
        InputError: The model has another number of outputs, or ends in probabilities of another kind, or in some that
            can't be told from their logits.
    """
    logits = split_outputs(model.output).logits
    shape = tuple(logits.shape)[1:]
    if len(shape) != 1 or shape[0] not in links:
        wanted = " or ".join(f"(n, {width})" for width in links)
        raise InputError(f"{model.name}: logits must have shape {wanted}, got {tuple(logits.shape)}")
    link = links[shape[0]]
    if not link:
        return model
    operation = call_behind(logits).operation
    found = _activation_of(operation)
    if found and found != link:
        raise InputError(
            f"{model.name}: must end in logits or {link} for {shape[0]} outputs of this kind of task, got {found};"
            f" take the {found} off, or give the task another objective"
        )
    if found:
        return _taken_off(model, operation)
    if not isinstance(operation, _LAYERS_OF_NUMBERS) and _gives_probabilities(model):
        raise InputError(
            f"{model.name}: its outputs are probabilities and it can't be seen what makes them ({operation.name}); let"
            " it end in logits"
        )
    return model


def _activation_of(operation: Any) -> str:
    return _CLASSES.get(type(operation).__name__) or _NAMES.get(activation_name(operation), "")


def _taken_off(model: keras.Model, operation: Any) -> keras.Model:
    """The model without the activation: that of its last layer, or its last operation."""
    if _NAMES.get(activation_name(operation)):
        operation.activation = keras.activations.linear
        return model
    outputs, before = model.output, operation.input
    return keras.Model(model.inputs, {**outputs, "logits": before} if isinstance(outputs, dict) else before)


def _gives_probabilities(model: keras.Model) -> bool:
    """Whether outputs vary within [0, 1] for inputs of any size, or always sum to 1: no logits do."""
    rng = np.random.default_rng(0)
    for size in (1.0, _LARGE):
        drawn = [_drawn(tensor, size, rng) for tensor in model.inputs]
        outputs = split_outputs(model(drawn if len(drawn) > 1 else drawn[0], training=False)).logits
        found = np.asarray(keras.ops.convert_to_numpy(outputs), np.float64)
        whole = found.shape[1] > 1 and np.allclose(found.sum(1), 1.0, atol=1e-3)
        within = np.ptp(found) > _VARIES and found.min() >= 0 and found.max() <= 1
        if not (whole or within):
            return False
    return True


def _drawn(tensor: keras.KerasTensor, size: float, rng: np.random.Generator) -> np.ndarray:
    shape = (_ROWS, *(1 if length is None else length for length in tensor.shape[1:]))
    if keras.backend.is_float_dtype(tensor.dtype):
        return rng.normal(0.0, size, shape).astype(tensor.dtype)
    return rng.integers(0, 2, shape).astype(tensor.dtype)
