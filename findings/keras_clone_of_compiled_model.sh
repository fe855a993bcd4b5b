#!/usr/bin/env bash
# keras.models.clone_model promises a copy of a model's layers with new weights. Of a model that was compiled with a
# plain Python function as its loss it raises a TypeError about a function that can't be located, although neither the
# loss nor the optimizer is part of the architecture: the clone is compiled from the model's serialised configuration,
# in which a function is no more than its name. The same model clones before `compile`, and after `compiled = False`.
#
# Seen with keras 3.15.1, tensorflow 2.21.0 on Python 3.11, Linux x86-64:
#     before compile: clones
#     compiled with a function: TypeError: Could not locate function 'own'. ...
#     with compiled = False: clones
# Exits with 1 where that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet keras==3.15.1 tensorflow==2.21.0
cd "$folder"
TF_CPP_MIN_LOG_LEVEL=3 CUDA_VISIBLE_DEVICES=-1 "$folder/env/bin/python" - 2>"$folder/log" <<'PYTHON' || { tail -3 "$folder/log"; exit 1; }
import sys

import keras


def own(target, output):
    return keras.ops.mean(keras.ops.square(target - output))


def outcome(model):
    try:
        keras.models.clone_model(model)
    except TypeError as error:
        return f"TypeError: {str(error)[:32]} ..."
    return "clones"


inputs = keras.Input((3,))
model = keras.Model(inputs, keras.layers.Dense(2)(inputs))
before = outcome(model)
model.compile("sgd", own)
compiled = outcome(model)
model.compiled = False
after = outcome(model)
print(f"before compile: {before}\ncompiled with a function: {compiled}\nwith compiled = False: {after}")
sys.exit(0 if (before, after) == ("clones", "clones") and compiled.startswith("TypeError: Could not locate") else 1)
PYTHON
