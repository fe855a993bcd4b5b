"""Laws of what a client keeps, in a folder of its own and in a simulation's file of all."""

import numpy as np
import pytest

from clients.node.state_file import StateFile
from clients.node.state_folder import StateFolder
from fedkd.protocol.state import ClientState


def state(round_=3, seed=0):
    rng = np.random.default_rng(seed)
    arrays = [rng.normal(size=s).astype(np.float32) for s in ((3, 4), (4,), ())]
    return ClientState(round_, arrays[:2], {"teacher": arrays, "teacher.moments": [], "projection": [arrays[0]] * 12})


@pytest.fixture(params=["folder", "pool"])
def vault(request, tmp_path):
    """Makes the vault of a run."""

    def make(run="run 1"):
        return StateFolder(tmp_path / "deep" / "client-0", run) if pooled is None else pooled(run)

    pooled = None
    if request.param == "pool":

        def pooled(run):
            return StateFile(tmp_path / "deep" / "clients.state", run, 1, state())

    return make


def test_state_reads_back_as_it_was_saved(vault):
    vault().save(state())
    loaded = vault().load()
    assert loaded.round == 3
    assert {k: len(v) for k, v in loaded.local.items()} == {"teacher": 3, "teacher.moments": 0, "projection": 12}
    for group in ("teacher", "projection"):
        for a, b in zip(loaded.local[group], state().local[group], strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b)


def test_a_repeated_round_starts_from_the_state_before_it(vault):
    """However often a message comes: it is always trained from the same state."""
    assert vault().load(1) is None
    for round_ in (1, 2, 5):
        vault().save(state(round_, seed=round_))
        vault().save(state(round_, seed=round_ + 100))
    assert vault().load().round == vault().load(6).round == 5
    assert vault().load(5).round == 2
    np.testing.assert_array_equal(vault().load(5).base[0], state(2, seed=102).base[0])


def test_a_first_round_that_is_repeated_starts_from_nothing(vault):
    vault().save(state(2))
    assert vault().load(2) is None


def test_a_server_that_went_back_too_far_finds_the_nearest_state(vault):
    for round_ in (1, 2, 3):
        vault().save(state(round_))
    assert vault().load(2).round == 2


def test_state_of_another_run_is_no_state(vault):
    vault("run 1").save(state())
    assert vault("run 2").load() is None
    assert vault("run 1").load().round == 3
    vault("run 2").save(state(1))
    assert vault("run 2").load().round == 1


def test_runs_beside_one_another_keep_their_states_and_older_ones_go(tmp_path):
    for number in range(4):
        StateFolder(tmp_path, f"run {number}").save(state(1))
    assert [bool(StateFolder(tmp_path, f"run {number}").load()) for number in range(4)] == [False, False, True, True]


def test_damaged_file_counts_as_none(tmp_path):
    vault = StateFolder(tmp_path, "run 1")
    vault.save(state())
    (file,) = tmp_path.glob("*/*")
    content = file.read_bytes()
    for damaged in (b"", content[:40], content[:-1], content + b"x", b"\xff" * 100):
        file.write_bytes(damaged)
        assert vault.load() is None
