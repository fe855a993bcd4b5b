"""Laws of states on disk."""

import logging
import os
import random
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest

from fedkd.base.checkpoint_store import CheckpointStore, DamagedError, Saved, pack, unpack


def state(round_, size=6):
    tensors = {"a/0": np.full((size,), round_, np.float32), "b/0": np.array(round_), "c/0": np.zeros((0, 2), np.uint8)}
    return Saved(round_, {"groups": {"a": 1}, "text": "é"}, tensors)


def same(a, b):
    assert (a.round, dict(a.header), a.tensors.keys()) == (b.round, dict(b.header), b.tensors.keys())
    for name, array in a.tensors.items():
        assert (array.dtype, array.shape) == (b.tensors[name].dtype, b.tensors[name].shape)
        np.testing.assert_array_equal(array, b.tensors[name])
    return True


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_state_reads_back_as_it_was_saved(tmp_path):
    files = CheckpointStore(tmp_path / "deep" / "er", "run 1")
    assert files.load() is None
    files.save(state(3))
    assert same(files.load(), state(3))
    assert CheckpointStore(tmp_path / "deep" / "er", "run 2").load() is None


def test_the_last_two_rounds_are_kept_and_nothing_else(tmp_path):
    files = CheckpointStore(tmp_path, "run")
    for round_ in (1, 2, 5):
        files.save(state(round_))
    assert names(tmp_path) == ["round-2.safetensors", "round-5.safetensors"]
    assert [files.load(before).round for before in (None, 6, 5, 3)] == [5, 5, 2, 2]


def test_a_round_that_is_saved_again_leaves_the_one_before(tmp_path):
    files = CheckpointStore(tmp_path, "run")
    for round_ in (1, 2, 2):
        files.save(state(round_))
    assert files.load(2).round == 1


def test_a_server_that_goes_back_again_and_again_costs_no_state(tmp_path):
    """A client of rounds 3 and 4 trains round 3 twice more: there is always one to begin from."""
    files = CheckpointStore(tmp_path, "run")
    for round_ in (3, 4, 3, 3):
        assert round_ == 3 or files.load(round_).round == 3
        files.save(state(round_))
        assert files.load(3) or names(tmp_path) == ["round-3.safetensors"]


def test_what_a_process_that_died_left_half_written_goes(tmp_path):
    (tmp_path / ".round-1.safetensors.77.tmp").write_bytes(b"half")
    CheckpointStore(tmp_path, "run").save(state(1))
    assert names(tmp_path) == ["round-1.safetensors"]


def test_no_text_in_a_state_is_taken_for_its_hash():
    for text in ("0" * 64, '"sha256":"' + "0" * 64 + '"', "a" * 300):
        for _ in range(5):  # metadata are written in any order
            saved = Saved(1, {"text": text, text: 1}, {})
            assert unpack(pack(saved, text)) == (text, saved)


def test_only_the_owner_may_read_a_state(tmp_path):
    CheckpointStore(tmp_path / "states", "run").save(state(1))
    assert (tmp_path / "states").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "states/round-1.safetensors").stat().st_mode & 0o777 == 0o600


def test_a_file_cut_at_any_byte_falls_back_to_the_one_before_and_says_so(tmp_path, caplog):
    files = CheckpointStore(tmp_path, "run")
    files.save(state(1))
    whole = pack(state(2), "run")
    for length in range(len(whole)):
        (tmp_path / "round-2.safetensors").write_bytes(whole[:length])
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            assert files.load().round == 1
        assert "round-2.safetensors counts as none" in caplog.text
    (tmp_path / "round-2.safetensors").write_bytes(whole + b"\0")
    assert files.load().round == 1


def test_each_of_a_thousand_bit_flips_is_detected():
    whole, rng = pack(state(2, size=100), "run"), random.Random(0)
    for _ in range(1000):
        at, bit = rng.randrange(len(whole)), rng.randrange(8)
        with pytest.raises(DamagedError):
            unpack(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])


def test_a_full_disk_leaves_the_states_before_and_says_so_in_one_line(tmp_path):
    """A process that may write files of 4 kB at most stands in for a disk without room."""
    code = """if True:
        import resource, signal, sys
        from pathlib import Path
        from fedkd.base.errors import RunError
        from fedkd.base.checkpoint_store import CheckpointStore
        from tests.base.test_checkpoint_store import state
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        files = CheckpointStore(Path(sys.argv[1]), "run")
        files.save(state(1))
        files.save(state(2))
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            files.save(state(3, size=2000))
        except RunError as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    assert (
        done.stdout == f"{tmp_path}/round-3.safetensors can't be written (File too large); the state before is intact\n"
    )
    assert names(tmp_path) == ["round-1.safetensors", "round-2.safetensors"]
    assert same(CheckpointStore(tmp_path, "run").load(), state(2))


@pytest.mark.parametrize("call", ["fsync", "replace", "unlink"])
def test_a_crash_at_any_step_leaves_the_state_before_or_the_one_after(tmp_path, monkeypatch, call):
    files = CheckpointStore(tmp_path, "run")
    files.save(state(1))
    files.save(state(2))
    real = getattr(os, call)
    for dies_at in range(4):
        calls = iter(range(10))

        def dying(*arguments, calls=calls, dies_at=dies_at):
            if next(calls) == dies_at:
                raise KeyboardInterrupt
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(os, call, dying)
            try:
                files.save(state(3))
            except KeyboardInterrupt:
                assert files.load(3).round == 2
        assert files.load().round in (2, 3)
        assert same(files.load(), state(files.load().round))
        assert files.load(3).round == 2


LAYOUTS = {
    "transposed": np.arange(12, dtype=np.float32).reshape(3, 4).T,
    "fortran": np.asfortranarray(np.arange(24, dtype=np.int32).reshape(2, 3, 4)),
    "every other": np.arange(20, dtype=np.float64)[::2],
    "scalar": np.array(2.5, np.float16),
    "flags": np.array([True, False]),
}


@pytest.mark.parametrize("array", LAYOUTS.values(), ids=LAYOUTS)
def test_what_is_read_is_what_was_held_however_it_lay_in_memory(array):
    _, saved = unpack(pack(Saved(1, {}, {"a": array}), "me"))
    assert (saved.tensors["a"].shape, saved.tensors["a"].dtype) == (array.shape, array.dtype)
    np.testing.assert_array_equal(saved.tensors["a"], array)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ">f4", "U3", object], ids=str)
def test_what_would_not_come_back_is_not_written(dtype, tmp_path):
    with pytest.raises(TypeError, match="a must be an array of numpy's own numbers"):
        CheckpointStore(tmp_path / "states", "me").save(Saved(1, {}, {"a": np.zeros(3, dtype)}))
    assert not list(tmp_path.rglob("*.safetensors"))
