#!/usr/bin/env bash
# FedKD keeps the fewest singular values of a kernel that hold a share T of its energy. Two libraries' FedKD look for
# them in sums of the first n values for n below their number, so that all of them is never an answer: a kernel that
# needs them all keeps one in fedpredict, and in PFLlib none, which makes it zeros. Convolutions come apart into their
# 3x3 windows, each with factors of its own: 7 numbers (one value kept) or 14 (two) where the window itself has 9, and
# zeros where two don't suffice.
#
#     findings/fedkd_rank_search.sh [PFLLIB]    PFLLIB: a checkout of https://github.com/TsingZ0/PFLlib, seen d832e76
#
# Seen with fedpredict 0.0.67 (numpy 2.2.6, scikit-learn 1.7.2) and that checkout on Python 3.11, Linux x86-64, T = .95:
#     fedpredict, dense 64x10, full rank: sends 75 numbers for 640, 90 % of the energy lost
#     fedpredict, convolution 3x3 of rank 4: sends 3,584 numbers for 4,608, 27 % of the energy lost
#     PFLlib, dense 64x10, full rank: sends 0 numbers for 640, 100 % of the energy lost
#     PFLlib, convolution 3x3 of rank 4: sends 7,168 numbers for 4,608, 3 % of the energy lost
#     PFLlib, the same, T = .98: sends 0 numbers for 4,608, 100 % of the energy lost
# Exits with 1 where that changes. `fedkd bench kernels` shows what fedkd sends of the same two.
set -euo pipefail
checkout=${1:+$(cd "$1" && pwd)}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet fedpredict==0.0.67 numpy==2.2.6 scikit-learn==1.7.2
cd "$folder"
PFLLIB=${checkout:-} "$folder/env/bin/python" - <<'PYTHON'
import logging
import os
import sys
from unittest.mock import MagicMock

import numpy as np

for name in ("torch", "torch.nn", "torch.nn.functional", "torch.utils", "torch.utils.data"):
    sys.modules[name] = MagicMock(Tensor=type("Tensor", (), {}))  # both import it, neither needs it for this

rng = np.random.default_rng(0)
dense = np.linalg.qr(rng.standard_normal((64, 10)))[0]  # ten singular values of 1
low = rng.standard_normal((144, 4)) @ rng.standard_normal((4, 32))  # a 3x3 convolution of 16 channels to 32, as a matrix
convolution = low.reshape(3, 3, 16, 32).transpose(3, 2, 0, 1)  # as torch lays it out
good = True


def say(who, what, kernel, sent, decoded, expected):
    global good
    lost = round(100 * float(np.sum((kernel - decoded) ** 2) / np.sum(kernel**2)))
    good &= (sent, lost) == expected
    print(f"{who}, {what}: sends {sent:,} numbers for {kernel.size:,}, {lost} % of the energy lost")


def fedpredict(kernel):
    import fedpredict as library
    from fedpredict.utils.compression_methods.parameters_svd import inverse_parameter_svd_reading

    logging.disable(logging.CRITICAL)
    ranges = library.layer_compression_range([kernel.shape])
    parts = library.fedkd_compression(ranges, 1, 1, [kernel])  # the last round: T = .95
    return sum(part.size for part in parts), inverse_parameter_svd_reading(parts, [kernel.shape])[0]


def pfllib(kernel, energy):
    for name in ("h5py", "matplotlib", "matplotlib.pyplot"):
        sys.modules[name] = MagicMock()
    sys.path.insert(0, os.path.join(os.environ["PFLLIB"], "system"))
    from flcore.servers.serverkd import FedKD

    server = FedKD.__new__(FedKD)
    server.global_model, server.energy = {"weight": kernel}, energy
    server.decomposition()
    u, sigma, v = server.compressed_param["weight"]
    return u.size + sigma.size + v.size, (u * sigma[..., None, :]) @ v


say("fedpredict", "dense 64x10, full rank", dense, *fedpredict(dense), (75, 90))
say("fedpredict", "convolution 3x3 of rank 4", convolution, *fedpredict(convolution), (3584, 27))
if os.environ["PFLLIB"]:
    say("PFLlib", "dense 64x10, full rank", dense, *pfllib(dense, 0.95), (0, 100))
    say("PFLlib", "convolution 3x3 of rank 4", convolution, *pfllib(convolution, 0.95), (7168, 3))
    say("PFLlib", "the same, T = .98", convolution, *pfllib(convolution, 0.98), (0, 100))
sys.exit(0 if good else 1)
PYTHON
