#!/usr/bin/env bash
# ai-edge-quantizer leaves a Keras word table in floats, whatever the recipe: weight-only and dynamic, of 8 and of 4 bits.
# It reports that the model was quantized and by how much it is smaller, and names nothing that it passed over. A Keras
# Embedding becomes a GATHER, whose table has the type of what is gathered; TensorFlow's own converter turns the same
# table to 8 bits.
#
# The model is a table of 20 000 words of 64 numbers, 5.12 MB of floats, and two dense layers of 1.2 MB together.
#
# Seen with ai-edge-quantizer 0.10.0, tensorflow 2.21.0 and keras 3.15.1 on Python 3.11, Linux x86-64:
#     float32: 6.30 MB
#     weight_only_wi8_afp32: 5.43 MB
#     weight_only_wi4_afp32: 5.28 MB
#     dynamic_wi8_afp32: 5.43 MB
#     dynamic_wi4_afp32: 5.28 MB
#     TensorFlow's own dynamic range: 1.59 MB
# Exits with 1 where that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet ai-edge-quantizer==0.10.0 ai-edge-litert==2.3.0 tensorflow==2.21.0 keras==3.15.1
cd "$folder"
TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 "$folder/env/bin/python" - 2>"$folder/log" <<'PYTHON' | grep ' MB$' || { tail -3 "$folder/log"; exit 1; }
import sys

import keras
import tensorflow as tf
from ai_edge_quantizer import quantizer, recipe

keras.utils.set_random_seed(0)
words = keras.Input((20,), dtype="int32", batch_size=1)
table = keras.layers.Embedding(20_000, 64)(words)
hidden = keras.layers.Dense(512)(keras.layers.GlobalAveragePooling1D()(table))
converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(words, keras.layers.Dense(512)(hidden)))
source = "model.tflite"
open(source, "wb").write(converter.convert())
sizes = {"float32": len(open(source, "rb").read())}
for name in ("weight_only_wi8_afp32", "weight_only_wi4_afp32", "dynamic_wi8_afp32", "dynamic_wi4_afp32"):
    made = quantizer.Quantizer(source, getattr(recipe, name)()).quantize()
    sizes[name] = len(made.quantized_model)
converter.optimizations = [tf.lite.Optimize.DEFAULT]
sizes["TensorFlow's own dynamic range"] = len(converter.convert())
for name, size in sizes.items():
    print(f"{name}: {size / 1e6:.2f} MB")
table = 20_000 * 64 * 4
recipes = [size for name, size in sizes.items() if "afp32" in name]
sys.exit(not (min(recipes) > table and sizes["TensorFlow's own dynamic range"] < table / 2))
PYTHON
