"""Laws of a client's file."""

import numpy as np

from clients.vault import Vault
from fedkd.protocol import ClientState


def state(round_=3):
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=s).astype(np.float32) for s in ((3, 4), (4,), ())]
    return ClientState(round_, arrays[:2], {"teacher": arrays, "teacher.moments": [], "projection": [arrays[0]] * 12})


def test_state_reads_back_as_it_was_saved(tmp_path):
    vault = Vault(tmp_path / "deep" / "client-0.safetensors", "run 1")
    vault.save(state())
    loaded = vault.load()
    assert loaded.round == 3
    assert {k: len(v) for k, v in loaded.local.items()} == {"teacher": 3, "teacher.moments": 0, "projection": 12}
    for group in ("teacher", "projection"):
        for a, b in zip(loaded.local[group], state().local[group], strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def test_missing_or_damaged_file_is_no_state(tmp_path):
    vault = Vault(tmp_path / "client-0.safetensors", "run 1")
    assert vault.load() is None
    vault.save(state())
    content = vault.path.read_bytes()
    for damaged in (b"", content[:40], content[:-1], content + b"x", b"\xff" * 100):
        vault.path.write_bytes(damaged)
        assert vault.load() is None


def test_saving_again_replaces_the_file_and_leaves_no_other(tmp_path):
    vault = Vault(tmp_path / "client-0.safetensors", "run 1")
    vault.save(state(1))
    vault.save(state(2))
    assert vault.load().round == 2
    assert [p.name for p in tmp_path.iterdir()] == ["client-0.safetensors"]


def test_state_of_another_run_is_no_state(tmp_path):
    Vault(tmp_path / "client-0.safetensors", "run 1").save(state())
    assert Vault(tmp_path / "client-0.safetensors", "run 2").load() is None
    assert Vault(tmp_path / "client-0.safetensors", "run 1").load().round == 3
