#!/usr/bin/env bash
# LiteRT's reference kernel of FULLY_CONNECTED answers zeros, without an error, where the weights have 4 bits with a scale
# for each block of 32 inputs, as ai-edge-quantizer writes them. XNNPACK and the kernels that are built in beside the
# reference ones run the same file rightly, and the reference kernel does so with a scale for each row. So a file that is
# checked by the reference kernels alone, or meant for a device that has no others, looks broken, and nothing says why.
#
# The error is that of a dense layer's outputs, as a share of their norm.
#
# Seen with ai-edge-litert 2.3.0, ai-edge-quantizer 0.10.0, tensorflow 2.21.0 and keras 3.15.1 on Python 3.11, Linux x86-64:
#     a scale a row, XNNPACK: error 0.07
#     a scale a row, built in: error 0.07
#     a scale a row, reference: error 0.07
#     blocks of 32, XNNPACK: error 0.07
#     blocks of 32, built in: error 0.07
#     blocks of 32, reference: error 1.00, the largest output is 0
# Exits with 1 where that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet ai-edge-quantizer==0.10.0 ai-edge-litert==2.3.0 tensorflow==2.21.0 keras==3.15.1
cd "$folder"
TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 "$folder/env/bin/python" - 2>"$folder/log" <<'PYTHON' | grep ' error ' || { tail -3 "$folder/log"; exit 1; }
import sys

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from ai_edge_quantizer import qtyping, quantizer

ROWS = np.random.default_rng(0).normal(size=(50, 256)).astype(np.float32)
SCALES = {"a scale a row": qtyping.QuantGranularity.CHANNELWISE, "blocks of 32": qtyping.QuantGranularity.BLOCKWISE_32}
KERNELS = {
    "XNNPACK": OpResolverType.AUTO,
    "built in": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    "reference": OpResolverType.BUILTIN_REF,
}
keras.utils.set_random_seed(0)
inputs = keras.Input((256,), batch_size=1)
model = keras.Model(inputs, keras.layers.Dense(64)(inputs))
with open("model.tflite", "wb") as file:
    file.write(tf.lite.TFLiteConverter.from_keras_model(model).convert())
wanted = model.predict(ROWS, verbose=0)


def file_of(granularity):
    made = quantizer.Quantizer("model.tflite")
    made.add_dynamic_config(".*", qtyping.TFLOperationName.FULLY_CONNECTED, num_bits=4, granularity=granularity)
    return bytes(made.quantize(enable_progress_report=False).quantized_model)


def answers(content, kernels):
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    got = []
    for row in ROWS:
        interpreter.set_tensor(source, row[None])
        interpreter.invoke()
        got.append(interpreter.get_tensor(sink)[0])
    return np.array(got)


zeros = []
for scales, granularity in SCALES.items():
    content = file_of(granularity)
    for name, kernels in KERNELS.items():
        got = answers(content, kernels)
        error = np.linalg.norm(got - wanted) / np.linalg.norm(wanted)
        zeros.append(not got.any())
        print(f"{scales}, {name}: error {error:.2f}" + (", the largest output is 0" if zeros[-1] else ""))
sys.exit(zeros != [False] * 5 + [True])
PYTHON
