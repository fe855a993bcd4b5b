"""Laws of what the server saves after each round."""

import numpy as np
import pytest

from fedkd.base.checkpoint_store import CheckpointStore, Saved, grouped
from fedkd.base.tensors import digest
from fedkd.protocol.state import ServerState, Step
from server.checkpoint import Checkpoint, RunProgress


def arrays(value):
    return [np.full((2, 3), value, np.float32), np.full(4, value, np.float32)]


def test_what_transforms_keep_comes_back_by_its_groups(tmp_path):
    kept = {"residual": arrays(2), "transform.other": [np.float32([7])]}
    state = ServerState(
        3, arrays(1), arrays(1), digest(arrays(1)), (Step(3, b"step", 0.5),), b"last", kept, (4,), "run"
    )
    Checkpoint(tmp_path, "print").save(RunProgress(state, {0: 3}, {}, arrays(5), 1.5))
    found = Checkpoint(tmp_path, "print").load()
    assert {group: digest(arrays) for group, arrays in found.state.transforms.items()} == {
        group: digest(arrays) for group, arrays in kept.items()
    }
    assert (digest(found.state.shared), digest(found.trained)) == (digest(arrays(1)), digest(arrays(5)))
    assert (found.state.steps, found.state.update, found.known_rounds) == (state.steps, b"last", {0: 3})


@pytest.mark.parametrize("residual", [arrays(2), []], ids=["with feedback", "without"])
def test_checkpoint_with_one_residual_still_opens(tmp_path, residual):
    """As they were written while error feedback alone kept something, of which there was none without it."""
    groups = {"shared": arrays(1), "residual": residual, "trained": [], "blobs": [np.frombuffer(b"last", np.uint8)]}
    tensors, lengths = grouped(groups)
    header = {"run": "r", "steps": [], "removed_channels": [], "held": [], "quality": [], "elapsed": 0.0}
    CheckpointStore(tmp_path, "print").save(Saved(2, {**header, "groups": lengths}, tensors))
    state = Checkpoint(tmp_path, "print").load().state
    assert {group: digest(arrays) for group, arrays in state.transforms.items()} == (
        {"residual": digest(residual)} if residual else {}
    )
