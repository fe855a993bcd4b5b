#!/usr/bin/env bash
# What TensorFlow's CPU kernels have freed stays with the process for ever where oneDNN is on, as it is by default on
# x86-64: tensors then come from a pool that only grows, which neither a collection nor malloc_trim shrinks. With
# TF_ENABLE_ONEDNN_OPTS=0 the same program gives it all back. So resident memory after training tells the peak of all that
# was done before, and a process that shall be small again has to end.
#
# Seen with tensorflow-cpu 2.21.0, numpy 2.4.6 on Python 3.11, Linux x86-64, resident memory of twenty tensors of 50 MB,
# before and after all are deleted:
#     oneDNN on: 1065 MB, then 1062
#     oneDNN off: 1000 MB, then -3
# Exits with 1 where that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet tensorflow-cpu==2.21.0 numpy==2.4.6
cd "$folder"
cat > freed.py <<'PYTHON'
import ctypes
import gc
import os

import tensorflow as tf


def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


one = tf.ones(12_500_000)
before = resident()
tensors = [one + float(i) for i in range(20)]
held = resident() - before
del tensors
gc.collect()
ctypes.CDLL("libc.so.6").malloc_trim(0)
print(f"{held:.0f} {resident() - before:.0f}")
PYTHON
export TF_CPP_MIN_LOG_LEVEL=3
read -r held on < <(TF_ENABLE_ONEDNN_OPTS=1 "$folder/env/bin/python" freed.py)
read -r same off < <(TF_ENABLE_ONEDNN_OPTS=0 "$folder/env/bin/python" freed.py)
echo "oneDNN on: $held MB, then $on"
echo "oneDNN off: $same MB, then $off"
[ "$held" -gt 900 ] && [ "$on" -gt 900 ] && [ "$off" -lt 100 ]
