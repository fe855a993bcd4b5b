#!/usr/bin/env bash
# tf.constant of a numpy array copies it twice, and both copies stay until TensorFlow next runs an operation: no garbage
# collection and no waiting frees the first one. So a loop that turns a model's weights into tensors takes twice their
# memory, at its end, on boards that have just room for them. Running any operation between lets the spare copies go.
#
# Seen with tensorflow-cpu 2.21.0, numpy 2.4.6 on Python 3.11, Linux x86-64, five arrays of 40 MB, resident memory:
#     constants of 200 MB: 408
#     after a collection: 408
#     after an operation: 209
# Exits with 1 where that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet tensorflow-cpu==2.21.0 numpy==2.4.6
cd "$folder"
TF_CPP_MIN_LOG_LEVEL=3 "$folder/env/bin/python" - <<'PYTHON'
import gc
import os
import sys

import numpy as np
import tensorflow as tf


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


tf.add(tf.constant(np.zeros(1000, np.float32)), 1)
arrays = [np.ones(10_000_000, np.float32) for _ in range(5)]
before = resident()
tensors = [tf.constant(array) for array in arrays]
held = resident() - before
gc.collect()
collected = resident() - before
tf.add(1, 1)
after = resident() - before
print(f"constants of 200 MB: {held:.0f}", f"after a collection: {collected:.0f}", f"after an operation: {after:.0f}", sep="\n")
sys.exit(0 if min(held, collected) > 350 and after < 250 else 1)
PYTHON
