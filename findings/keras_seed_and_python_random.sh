#!/usr/bin/env bash
# Two models built after keras.utils.set_random_seed(0) have other weights where anything in the process has drawn a
# number from Python's `random` in between: each layer's initializer takes its seed from Python's global generator when
# it is made, and from no other. Drawing from numpy's or TensorFlow's changes nothing. Libraries that draw from `random`
# in threads of their own (for the jitter of a retry, say) so change the initial weights of models from run to run.
#
# Seen with keras 3.15.1, tensorflow 2.21.0 on Python 3.11, Linux x86-64:
#     built twice with one seed: equal
#     after a draw from numpy and one from TensorFlow: equal
#     after a draw from Python's random: other weights
# Exits with 1 where that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet keras==3.15.1 tensorflow==2.21.0
cd "$folder"
TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 "$folder/env/bin/python" - 2>"$folder/log" <<'PYTHON' || { tail -3 "$folder/log"; exit 1; }
import random
import sys

import keras
import numpy as np
import tensorflow as tf


def kernel(between):
    keras.utils.set_random_seed(0)
    between()
    inputs = keras.Input((3,))
    return keras.Model(inputs, keras.layers.Dense(2)(inputs)).get_weights()[0]


def elsewhere():
    np.random.random()
    tf.random.normal(())


first = kernel(lambda: None)
again, other, drawn = kernel(lambda: None), kernel(elsewhere), kernel(random.random)
print("built twice with one seed:", "equal" if np.array_equal(first, again) else "other weights")
print("after a draw from numpy and one from TensorFlow:", "equal" if np.array_equal(first, other) else "other weights")
print("after a draw from Python's random:", "equal" if np.array_equal(first, drawn) else "other weights")
expected = np.array_equal(first, again) and np.array_equal(first, other) and not np.array_equal(first, drawn)
sys.exit(0 if expected else 1)
PYTHON
