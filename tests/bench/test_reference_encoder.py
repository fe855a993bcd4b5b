"""Law of pretrained encoders: what a folder computes is what the library that such folders come from computes of it."""

import subprocess
from pathlib import Path

import numpy as np
import pytest

from fedkd.base.encoder import read_encoder
from fedkd.models.inspect import build_model, split_outputs
from fedkd.tasks.builtin import FirstLayers
from sims.bench.peers.environments import TORCH_TEXT, environment
from tests.pretrained_folder import LAYERS, vocabulary, write

REFERENCE = """
import sys
import numpy as np, torch
from transformers import AutoModel

for folder in sys.argv[2:]:
    held = np.load(folder + "/ids.npz")
    model = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    with torch.no_grad():
        ids, real = (torch.from_numpy(held[name].astype(np.int64)) for name in ("ids", "real"))
        states = model(input_ids=ids, attention_mask=real, output_hidden_states=True).hidden_states
    np.savez(folder + "/states.npz", *[state.numpy() for state in states[1:]])
"""


@pytest.mark.bench
def test_hidden_states_are_those_of_transformers_in_torch(tmp_path):
    kinds = ("bert", "roberta", "distilbert")
    rng, folders = np.random.default_rng(0), {kind: write(tmp_path / kind, kind) for kind in kinds}
    encoders = {kind: read_encoder(folder) for kind, folder in folders.items()}
    for kind, folder in folders.items():
        ids = rng.integers(5, len(vocabulary(kind)), (4, 9)).astype(np.int32)
        ids[1, 6:] = ids[2, 3:] = encoders[kind].padding
        np.savez(folder / "ids.npz", ids=ids, real=ids != encoders[kind].padding)
    interpreter = environment(TORCH_TEXT, Path(".peers"))
    command = [str(interpreter), "-P", "-c", REFERENCE, "", *map(str, folders.values())]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for kind, folder in folders.items():
        held = np.load(folder / "ids.npz")
        model = build_model(FirstLayers(encoders[kind], LAYERS, 9, 3), 0)
        found, states = split_outputs(model(held["ids"])).hidden, np.load(folder / "states.npz")
        assert len(found) == len(states.files) == LAYERS
        for ours, name in zip(found, states.files, strict=True):
            assert np.abs(np.asarray(ours) - states[name])[held["real"]].max() < 1e-5, kind
