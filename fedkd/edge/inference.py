"""A Keras model as devices run it: in float32, in inference, and held against Keras before it becomes a file."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import keras
import numpy as np

from fedkd.base.errors import InputError
from fedkd.base.keras_internals import all_layers, run_graph
from fedkd.compress.ids import check_ids
from fedkd.models.graph import functional

_SHARE = 1e-4  # of the outputs' range, that a float32 file may be off
_ROUNDING = 1e-5  # of the largest output, for outputs that hardly vary
_MASKED = 16.0  # that a score is below the least of its row: e**-16 is 1e-7
_REDUCED = ("float16", "bfloat16", "float64")


def load(path: Path, trust: bool = False) -> keras.Model:
    """Load a model for devices, in float32 whatever it was trained in, and of float32 or int32 at its input.

    Args:
        path: A .keras file; the modules of its layers are imported.
        trust: Whether Python code that it holds, in Lambda layers, may run.

    Returns:
        Of one input of a fixed shape and one output.

    Raises:
        InputError: It has other ends, or Keras has quantised it. Keras raises others where it can't load the file.
    """
    if trust:
        keras.config.enable_unsafe_deserialization()  # for copies of such layers, too
    model = keras.saving.load_model(path, compile=False, safe_mode=not trust)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise InputError(f"the model must have 1 input and 1 output, got {len(model.inputs)} and {len(model.outputs)}")
    if None in (shape := tuple(model.inputs[0].shape[1:])):
        raise InputError(f"the model's input shape must be fixed, got {shape}")
    for layer in all_layers(model):
        if mode := getattr(layer, "quantization_mode", None):
            raise InputError(
                f"layer {layer.name!r} must hold floats, got {mode} by Keras' model.quantize, which the converter gets"
                " wrong; give the model from before that"
            )
    return plain_input(in_float32(model))


def export(model: keras.Model, folder: Path) -> None:
    """Write a SavedModel of a model's inference, with the batch fixed to 1.

    A free batch would put SHAPE and PACK into the file, and Flex ops where there is an LSTM. ``model.export`` leaves
    it open whether the model trains: layers of preprocessing and augmentation then take it that it does.

    Args:
        model: Of one input and one output.
        folder: Of the SavedModel.
    """
    source = model.inputs[0]
    archive = keras.export.ExportArchive()
    archive.track(model)
    signature = [keras.InputSpec(shape=(1, *source.shape[1:]), dtype=source.dtype)]
    with _for_devices(model):
        archive.add_endpoint("serve", lambda x: model(x, training=False), input_signature=signature)
        archive.write_out(folder, verbose=False)


@contextmanager
def _for_devices(model: keras.Model) -> Iterator[None]:
    """While it holds, layers compute what they do by operations that devices have in integers."""
    with ExitStack() as stack:
        for layer in all_layers(model):
            if type(layer) is keras.layers.Embedding:
                stack.enter_context(patch.object(layer, "call", _looks_up(layer)))
            if type(layer) is keras.layers.Softmax and np.size(layer.axis) == 1:
                stack.enter_context(patch.object(layer, "call", _masked(int(np.ravel(layer.axis)[0]))))
        yield


def _looks_up(layer: Any) -> Any:
    """A plain gather, as in training that sees int8.

    Keras' own counts negative ids from the table's end, which takes a SELECT that TensorFlow Lite Micro hasn't got.
    """
    import tensorflow as tf

    return lambda ids: tf.gather(tf.cast(layer.embeddings, layer.compute_dtype), tf.cast(ids, tf.int32))


def _masked(axis: int) -> Any:
    """A softmax along an axis in which what is masked lies a little below all else.

    Keras' own puts it at -1e9, and 256 steps from there up to the scores leave these in one step.
    """
    import tensorflow as tf

    def call(inputs: Any, mask: Any = None) -> Any:
        if mask is None:
            return tf.nn.softmax(inputs, axis)
        low = tf.reduce_min(inputs, axis, keepdims=True) - tf.cast(_MASKED, inputs.dtype)
        mask = tf.cast(mask, tf.bool)
        return tf.where(mask, tf.nn.softmax(tf.where(mask, inputs, low), axis), tf.zeros((), inputs.dtype))

    return call


def check_outputs(model: keras.Model, rows: np.ndarray, found: np.ndarray) -> None:
    """Hold what a float32 file answers against its model.

    Args:
        model: That the file was made of.
        rows: Real examples (n, *input_shape), n at least 1.
        found: The file's outputs for these, float32 (n, ...).

    Raises:
        InputError: They differ by more than 1e-4 of the outputs' range.
    """
    expected = np.asarray(model(rows, training=False), np.float64)
    size = float(np.ptp(expected))
    off = np.where(np.isnan(expected) & np.isnan(found), 0.0, np.abs(found - expected)).max()
    if not np.isfinite(size) or off <= _SHARE * size + _ROUNDING * float(np.abs(expected).max()):
        return
    raise InputError(
        f"a file must compute what its model computes, within {_SHARE:g} of the outputs' range; in float32 it is off by"
        f" {off:.3g} of {size:.3g}: no accuracy of it would mean anything; replace the layer that is converted wrongly"
    )


def plain_input(model: keras.Model) -> keras.Model:
    """Return a model whose input is float32, or int32 ids: of one of bytes, say, with the same layers.

    The file of a model that takes images as uint8 and rescales them takes the same numbers as floats, or as int8 that
    is off by 128: devices have no other integers at their inputs.

    Args:
        model: Functional, of one input; returned as it is where its input is one of these already.

    Raises:
        InputError: The graph of a model with another input can't be seen.
    """
    source = model.inputs[0]
    if source.dtype in ("float32", "int32"):
        return model
    whole = functional(model)

    def entered(dtype: str) -> keras.Model:
        fresh = keras.Input(source.shape[1:], dtype=dtype, name=source.name)
        return keras.Model(fresh, run_graph(whole, [fresh], lambda call, *args, **kwargs: call(*args, **kwargs)))

    found = entered("float32")
    try:
        check_ids(found)
    except InputError:  # what enters are ids
        return entered("int32")
    return found


def in_float32(model: keras.Model) -> keras.Model:
    """Return the model itself, or a copy of one of other floats."""
    layers = all_layers(model)
    used = {dtype for layer in layers for dtype in (layer.compute_dtype, layer.variable_dtype)}
    if not used & set(_REDUCED):
        return model
    copy = type(model).from_config(_of_float32(model.get_config()))
    copy.set_weights(model.get_weights())
    return copy


def _of_float32(config: Any) -> Any:
    """A configuration in which every dtype of floats is float32."""
    if isinstance(config, dict):
        if config.get("class_name") == "DTypePolicy":
            return "float32"
        return {key: "float32" if _reduced(key, value) else _of_float32(value) for key, value in config.items()}
    if isinstance(config, list | tuple):
        return type(config)(map(_of_float32, config))
    return config


def _reduced(key: str, value: Any) -> bool:
    return key == "dtype" and isinstance(value, str) and value.removeprefix("mixed_") in _REDUCED
