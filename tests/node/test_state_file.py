"""Laws of the file of all clients."""

import hashlib

import numpy as np
import pytest

from clients.node.state_file import StateFile
from fedkd.base.errors import RunError
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


def with_table(seed, moved, rows=1000):
    """A state whose tables are as they were built but for some rows."""
    rng = np.random.default_rng(seed)
    built = np.random.default_rng(99).normal(size=(rows, 40)).astype(np.float32)
    tables = [built.copy(), np.zeros((rows, 40), np.float32)]
    for table in tables:
        chosen = rng.choice(rows, moved, replace=False)
        table[chosen] = rng.normal(size=(moved, 40))
    return ClientState(seed, [built], {"teacher": tables})


@pytest.mark.parametrize("moved", [0, 1, 30, 500, 501, 1000])
def test_of_large_tables_the_rows_that_moved_are_written(tmp_path, monkeypatch, moved):
    monkeypatch.setattr("clients.node.moved_rows._LARGE", 1)
    vault = StateFile(tmp_path / "all.state", "run", 0, with_table(0, 0))
    for seed in (1, 2, 3):
        vault.save(with_table(seed, moved))
    assert same(vault.load(), with_table(3, moved))
    assert same(vault.load(before=3), with_table(2, moved))
    if moved <= 500:
        assert (tmp_path / "all.state").stat().st_blocks * 512 < 4 * 4096 + 2 * 2 * (moved * 164 + 4096)


def test_signs_of_zeros_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr("clients.node.moved_rows._LARGE", 1)
    vault, before = StateFile(tmp_path / "all.state", "run", 0, with_table(0, 0)), with_table(1, 0)
    before.local["teacher"][1][7] = -0.0
    vault.save(before)
    assert np.signbit(vault.load().local["teacher"][1]).sum() == 40


@pytest.mark.parametrize("count, number", [(1001, 0), (-2, 0), (2, 1000), (2, -1)])
def test_record_of_rows_that_can_not_be_is_none(tmp_path, monkeypatch, count, number):
    monkeypatch.setattr("clients.node.moved_rows._LARGE", 1)
    path = tmp_path / "all.state"
    vault = StateFile(path, "run", 0, with_table(0, 0))
    vault.save(with_table(1, 2))
    with path.open("r+b") as file:
        file.seek(40 + 4)  # of the teacher's table, behind that of the base
        file.write(np.int32(count).tobytes())
        file.seek(4096)
        file.write(np.int32(number).tobytes())
    assert vault.load() is None


def test_record_of_an_older_build_is_named_instead_of_forgotten(tmp_path):
    path = tmp_path / "all.state"
    path.write_bytes((3).to_bytes(8, "little") + hashlib.sha256(b"run").digest() + bytes(4096))
    with pytest.raises(RunError, match=r"all\.state: its records are an older fedkd's"):
        StateFile(path, "run", 0, state()).load()
