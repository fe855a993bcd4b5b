#!/usr/bin/env bash
# Keras' own LoRA, enable_lora, isn't the paper's in a layer of attention: the kernel of a query has an axis of heads,
# and A gets one too, a matrix for each head. At rank 8 that is six times the numbers of Hu et al. with 12 heads of 64.
# A copy of the layer (clone_model, from_config) has no adapters, and the bias beside an adapted kernel is trained.
#
#     findings/keras_lora_of_attention.sh
#
# Seen with keras 3.15.1, tensorflow 2.21.0 on Python 3.11, Linux x86-64:
#     query kernel (768, 12, 64), rank 8: A (768, 12, 8), B (8, 64), 74,240 numbers; the paper's are 12,288
#     trained beside them: query/bias; adapters of a copy: 0
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

inputs = keras.Input((4, 768))
attention = keras.layers.MultiHeadAttention(12, 64, name="attention")
model = keras.Model(inputs, attention(inputs, inputs))
query = attention.query_dense
query.enable_lora(8)
a, b = query.lora_kernel_a, query.lora_kernel_b
numbers = a.shape[0] * a.shape[1] * a.shape[2] + b.shape[0] * b.shape[1]
beside = [weight.path.split("/", 1)[1] for weight in query.trainable_weights if "lora" not in weight.name]
copied = [weight for weight in keras.models.clone_model(model).weights if "lora" in weight.name]
print(
    f"query kernel {tuple(query.kernel.shape)}, rank 8: A {tuple(a.shape)}, B {tuple(b.shape)}, {numbers:,} numbers;"
    f" the paper's are {8 * (768 + 12 * 64):,}"
)
print(f"trained beside them: {', '.join(beside)}; adapters of a copy: {len(copied)}")
sys.exit((numbers, beside, len(copied)) != (74_240, ["query/bias"], 0))
PYTHON
