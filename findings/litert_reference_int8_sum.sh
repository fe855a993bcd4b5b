#!/usr/bin/env bash
# LiteRT's reference kernel of SUM gives int8 tensors the sums of other numbers: of rows of twelve zeros and ones it makes
# about 2 of every sum. XNNPACK, which LiteRT takes by default, sums the same file rightly, and so does the reference
# kernel of MEAN.
#
# Seen with ai-edge-litert 2.3.0 and tensorflow 2.21.0 on Python 3.11, Linux x86-64:
#     SUM, XNNPACK: off by 0.0
#     SUM, reference: off by 8.0
#     MEAN, reference: off by 0.0
# Exits with 1 where that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet ai-edge-litert==2.3.0 tensorflow==2.21.0
cd "$folder"
TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 "$folder/env/bin/python" - 2>"$folder/log" <<'PYTHON' || { tail -3 "$folder/log"; exit 1; }
import sys

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType

ROWS = np.random.default_rng(0).integers(0, 2, (64, 1, 12)).astype(np.float32)


def file_of(function):
    traced = tf.function(function, input_signature=[tf.TensorSpec((1, 12), tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced.get_concrete_function()], traced)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row] for row in ROWS)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter.convert()


def off(function, kernels):
    interpreter = Interpreter(model_content=file_of(function), experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    worst = 0.0
    for row in ROWS:
        interpreter.set_tensor(source, row)
        interpreter.invoke()
        worst = max(worst, abs(float(interpreter.get_tensor(sink)[0]) - float(function(row)[0])))
    return worst


found = {
    "SUM, XNNPACK": off(lambda x: tf.reduce_sum(x, 1), OpResolverType.AUTO),
    "SUM, reference": off(lambda x: tf.reduce_sum(x, 1), OpResolverType.BUILTIN_REF),
    "MEAN, reference": off(lambda x: tf.reduce_mean(x, 1), OpResolverType.BUILTIN_REF),
}
for name, worst in found.items():
    print(f"{name}: off by {worst:.1f}")
sys.exit([worst > 0.1 for worst in found.values()] != [False, True, False])
PYTHON
