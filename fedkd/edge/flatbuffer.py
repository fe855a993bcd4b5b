"""A SavedModel as a TFLite file of one precision; it imports TensorFlow, whose converter can take the process down."""

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from fedkd.compress.ids import check_ids
from fedkd.config.edge import CALIBRATED
from fedkd.edge.few_bits import in_four_bits
from fedkd.edge.litert_internals import scale_whole_tensors


def flatbuffer(saved: Path, precision: str, model: keras.Model, rows: Callable[[], np.ndarray]) -> bytes:
    """Convert a SavedModel.

    Args:
        saved: Its folder, of batch 1.
        precision: One of ``fedkd.config.edge.PRECISIONS``.
        model: That it was written of.
        rows: Reads examples (n, *input_shape), in the dtype of the model's input, for the ranges of activations.

    Raises:
        InputError: Integers are asked for where word ids are floats, or 4 bits where nothing could have them. The
            converter raises others.
    """
    dtype = model.inputs[0].dtype
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
    if precision not in ("float32", "int4"):
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if precision in CALIBRATED:
        check_ids(model)
        shown = rows()
        converter.representative_dataset = lambda: ([row] for row in shown[:, np.newaxis])
        wide, kinds = precision == "int16x8", tf.lite.OpsSet
        sixteen = kinds.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
        converter.target_spec.supported_ops = [sixteen if wide else kinds.TFLITE_BUILTINS_INT8]
        if precision == "int8_per_tensor":
            scale_whole_tensors(converter)
        # Ids index a table: 8 bits hold too few of them, and rounding one gives another word.
        converter.inference_output_type = tf.int16 if wide else tf.int8
        converter.inference_input_type = converter.inference_output_type if dtype.startswith("float") else tf.float32
    content = converter.convert()
    return in_four_bits(content) if precision == "int4" else content
