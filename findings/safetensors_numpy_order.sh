#!/usr/bin/env bash
# safetensors.numpy.save writes an array's memory as it lies, not its values in order: a transposed array, or every
# other element of one, comes back as other numbers under the right shape, without an error or a warning. (numpy's own
# save, and tobytes, write values in order.) What saves a state has to make its arrays contiguous first.
#
# Seen with safetensors 0.8.0, numpy 2.2.6 on Python 3.11, Linux x86-64:
#     transposed: saved [[0, 3], [1, 4], [2, 5]], loaded [[0, 1], [2, 3], [4, 5]]
#     every other: saved [0, 2, 4], loaded [0, 1, 2]
#     contiguous copy: loaded as saved
# Exits with 1 where that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet safetensors==0.8.0 numpy==2.2.6
cd "$folder"
"$folder/env/bin/python" - <<'PYTHON'
import sys

import numpy as np
from safetensors.numpy import load, save


def back(array):
    return load(save({"x": array}))["x"]


transposed = np.arange(6, dtype=np.float32).reshape(2, 3).T
every_other = np.arange(6, dtype=np.float32)[::2]
for name, array in (("transposed", transposed), ("every other", every_other)):
    print(f"{name}: saved {array.astype(int).tolist()}, loaded {back(array).astype(int).tolist()}")
scrambled = all(not np.array_equal(back(array), array) for array in (transposed, every_other))
right = np.array_equal(back(np.ascontiguousarray(transposed)), transposed)
print("contiguous copy: loaded as saved" if right else "contiguous copy: changed")
sys.exit(0 if scrambled and right else 1)
PYTHON
