"""Laws of the file of all clients."""

import numpy as np
import pytest

from clients.node.state_file import StateFile
from fedkd.protocol.state import ClientState


def state(round_=3, seed=0, tensors=3):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=s).astype(np.float32) for s in ((300, 40), (4,), ())] * (tensors // 3)
    moments = [np.array(7 * seed, np.int64), np.zeros((0, 4), np.float32)]
    return ClientState(round_, arrays[:2], {"teacher": arrays, "teacher.moments": moments, "empty": []})


def same(a, b):
    groups = {"base": a.base, **a.local}, {"base": b.base, **b.local}
    assert groups[0].keys() == groups[1].keys()
    for group in groups[0]:
        for x, y in zip(groups[0][group], groups[1][group], strict=True):
            assert (x.dtype, x.shape) == (y.dtype, y.shape)
            np.testing.assert_array_equal(x, y)
    return a.round == b.round


@pytest.mark.parametrize("tensors", [3, 1800])
def test_states_of_many_clients_read_back_as_they_were_saved(tmp_path, tensors):
    path = tmp_path / "deep" / "all.state"
    for client in (5, 0, 2):
        StateFile(path, "run", client, state(tensors=tensors)).save(state(client + 1, seed=client, tensors=tensors))
    for client in (0, 2, 5):
        loaded = StateFile(path, "run", client, state(tensors=tensors)).load()
        assert same(loaded, state(client + 1, seed=client, tensors=tensors))


def test_client_that_never_trained_has_no_state_and_takes_no_room(tmp_path):
    path = tmp_path / "all.state"
    assert StateFile(path, "run", 3, state()).load() is None
    StateFile(path, "run", 1000, state()).save(state())
    assert StateFile(path, "run", 3, state()).load() is None
    assert StateFile(path, "run", 2000, state()).load() is None
    record = 4096 + sum(a.nbytes for arrays in (state().base, *state().local.values()) for a in arrays)
    assert path.stat().st_size > 2000 * record
    assert path.stat().st_blocks * 512 < 3 * record


@pytest.mark.parametrize("round_, left", [(5, 4), (4, 3)])
def test_half_written_state_is_none_and_leaves_the_one_before(tmp_path, monkeypatch, round_, left):
    vault = StateFile(tmp_path / "all.state", "run", 0, state())
    vault.save(state(3, seed=3))
    vault.save(state(4, seed=4))
    monkeypatch.setattr("os.pwritev", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        vault.save(state(round_))
    assert same(vault.load(), state(left, seed=left))


def test_state_of_other_shapes_is_refused_before_anything_is_written(tmp_path):
    vault = StateFile(tmp_path / "all.state", "run", 0, state())
    vault.save(state())
    with pytest.raises(ValueError, match="other shapes"):
        vault.save(state(tensors=6))
    assert same(vault.load(), state())
