#!/usr/bin/env bash
# In the int8 file of a Keras MultiHeadAttention that is given an attention mask, a word no longer tells the other words
# apart. Keras hides words by adding some -1e9 to their scores; an int8 tensor has 256 steps for all of its range, one of
# which is then some 4e6, and so the scores of all words that aren't hidden become the same. Converter and runtime say
# nothing. Without a mask the same layer keeps its answers, and so does attention by hand that adds -16, whose exponential
# is next to nothing.
#
# Words are random vectors, and the kernels such that a word attends to those like it. The error is that of the layer's
# output at words that aren't hidden, root mean square, as a share of the output's standard deviation.
#
# Seen with tensorflow 2.21.0, keras 3.15.1 and ai-edge-litert 2.3.0 on Python 3.11, Linux x86-64:
#     no mask: error 0.01
#     masked: error 0.88
#     by hand: error 0.01
# Exits with 1 where that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet tensorflow==2.21.0 keras==3.15.1 ai-edge-litert==2.3.0
cd "$folder"
TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 "$folder/env/bin/python" - 2>"$folder/log" <<'PYTHON' | grep error || { tail -3 "$folder/log"; exit 1; }
import sys

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

WORDS, WIDTH, ROWS = 16, 32, 200
rng = np.random.default_rng(0)
LENGTHS = rng.integers(4, WORDS + 1, (ROWS, 1))
TEXTS = np.where(np.arange(WORDS) < LENGTHS, rng.integers(1, 9, (ROWS, WORDS)), 0).astype(np.int32)
VECTORS = rng.normal(size=(9, WIDTH)).astype(np.float32)
VECTORS *= 5 / np.linalg.norm(VECTORS, axis=1, keepdims=True)
EYE = np.eye(WIDTH, dtype=np.float32)


def model(kind):
    words = keras.Input((WORDS,), dtype="int32")
    table = keras.layers.Embedding(9, WIDTH)
    x = table(words)
    real = words != 0
    if kind == "by hand":
        scores = keras.ops.matmul(x, keras.ops.transpose(x, (0, 2, 1))) / float(np.sqrt(WIDTH))
        scores = scores - 16 * (1 - keras.ops.cast(real, "float32"))[:, None]
        found = keras.Model(words, keras.ops.matmul(keras.ops.softmax(scores), x))
    else:
        attention = keras.layers.MultiHeadAttention(1, WIDTH, use_bias=False)
        found = keras.Model(words, attention(x, x, attention_mask=real[:, None] if kind == "masked" else None))
        attention.set_weights([array.reshape(w.shape) for array, w in zip([EYE] * 4, attention.weights)])
    table.set_weights([VECTORS])
    return found


def error(kind):
    found = model(kind)
    converter = tf.lite.TFLiteConverter.from_keras_model(found)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row[None]] for row in TEXTS)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    interpreter = Interpreter(model_content=converter.convert())
    interpreter.allocate_tensors()
    source, sink = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    wanted, got = found.predict(TEXTS, verbose=0), []
    for row in TEXTS:
        interpreter.set_tensor(source, row[None])
        interpreter.invoke()
        got.append(interpreter.get_tensor(sink)[0])
    real = TEXTS != 0
    return float(np.sqrt(np.mean((np.array(got)[real] - wanted[real]) ** 2)) / wanted[real].std())


found = {kind: error(kind) for kind in ("no mask", "masked", "by hand")}
for kind, value in found.items():
    print(f"{kind}: error {value:.2f}")
sys.exit([value > 0.2 for value in found.values()] != [False, True, False])
PYTHON
