"""Laws of runs that go on with other data, other settings, more rounds, or from an earlier round."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

import tests.tiny
from fedkd.base.errors import InputError
from fedkd.protocol.resolve import forget
from fedkd.results.run_folder import RunFolder
from server.checkpoint import Checkpoint
from sims.cli import app
from sims.run import resume, run
from tests.test_resume import QUIET, Crash, rounds

# No schedule depends on the number of rounds, and none finishes.
SETTINGS = {
    "clients": 3,
    "rounds": 4,
    "fraction": 0.7,
    "train.epochs": 1,
    "edge.sparsity": 0.0,
    "edge.precisions": "none",
    "exchange.energy_start": 0.9,
    "exchange.energy_end": 0.9,
    "exchange.feedback": True,
    "train.decay": 1.0,
    "partition.minimum": 2,
}


@pytest.fixture
def data(tmp_path):
    """A task as a file, with a writer that changes some of its arrays."""
    path, task = tmp_path / "data.npz", tests.tiny.task()
    arrays = {f"y_{split}": getattr(task, split).y for split in ("train", "test")}
    arrays |= {f"x_{split}": getattr(task, split).x.reshape(-1, 36) for split in ("train", "test")}
    arrays["classes"] = np.array(task.classes)

    def write(to=path, **changed):
        np.savez(to, **{**arrays, **changed})
        forget()  # as in a process of its own
        return to

    write.arrays, write.path = arrays, path
    write()
    return write


@pytest.fixture
def stopped(data, tmp_path):
    """A run that stopped after its second round."""

    def begin(**settings):
        given = {"task": f"npz:{data.path}", **SETTINGS, **settings}
        return stop_after(2, run, given, "local", tmp_path / "run", False, False, QUIET)

    return begin


def stop_after(round_, begin, *arguments, **named):
    real = Checkpoint.save

    def saving(self, progress):
        real(self, progress)
        if progress.state.round == round_:
            raise Crash

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "save", saving)
        with pytest.raises(Crash):
            begin(*arguments, **named)
    return next(argument for argument in arguments if hasattr(argument, "iterdir"))


def shared(folder):
    return [json.loads(line)["shared_sha256"] for line in (folder / "history.jsonl").read_text().splitlines()]


def go_on(folder, **named):
    forget()
    return resume(folder, "local", QUIET, **named)


def test_a_run_goes_on_with_the_examples_it_had_only_and_wherever_they_lie(data, stopped):
    folder = stopped()
    before, arrays = shared(folder), data.arrays
    data(y_train=arrays["y_train"][::-1])
    with pytest.raises(InputError, match=r"the task's examples differ from those the run began with \(y_train\)"):
        go_on(folder)
    data(x_test=arrays["x_test"] + np.float32(1e-6))
    with pytest.raises(InputError, match=r"the task's examples differ .* \(x_test\)"):
        go_on(folder)
    data.path.unlink()
    moved = data(data.path.with_name("moved.npz"))
    change(folder, f"npz:{data.path}", f"npz:{moved}")
    change(folder, "threads = 0", "threads = 1")
    assert shared(go_on(folder))[:2] == before


def change(folder, before, after):
    """Edit the configuration of a run."""
    config = folder / "config.toml"
    text = config.read_text()
    assert before in text
    config.write_text(text.replace(before, after))


@pytest.mark.slow
def test_files_of_weights_and_calibration_count_by_their_content(stopped, data, tmp_path):
    from fedkd.protocol.resolve import resolve

    weights, calibration = tmp_path / "teacher.weights.h5", tmp_path / "calibration.npz"
    base = {"task": f"npz:{data.path}", **SETTINGS}
    resolve({**base, "seed": 5}).build("teacher").save_weights(weights)
    np.savez(calibration, x=data.arrays["x_test"])
    folder = stopped(**{"model.teacher_weights": str(weights), "edge.calibration_file": str(calibration)})
    np.savez(calibration, x=data.arrays["x_test"][:5])
    with pytest.raises(InputError, match=r"the calibration file \(.*\) differs from the one the run began with"):
        go_on(folder)
    np.savez(calibration, x=data.arrays["x_test"])
    resolve({**base, "seed": 6}).build("teacher").save_weights(weights)
    with pytest.raises(InputError, match=r"the teacher's weights file \(.*\) differs from the one the run began with"):
        go_on(folder)
    change(folder, f'calibration_file = "{calibration}"', 'calibration_file = ""')
    with pytest.raises(InputError, match=r"edge.calibration_file was 'given', is ''"):
        go_on(folder)


def test_another_setting_is_named_and_damage_only_where_it_is(stopped):
    folder = stopped()
    change(folder, "epochs = 1", "epochs = 2")
    with pytest.raises(InputError, match=r"these settings differ: train.epochs was 1, is 2"):
        go_on(folder)
    for path in (folder / "checkpoint").iterdir():
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"no checkpoint is whole"):
        go_on(folder)


@pytest.mark.slow
def test_other_versions_are_said_in_a_line_and_recorded(stopped, monkeypatch, caplog):
    folder = stopped()
    found = {"fedkd": "9", "keras": "9.9", "tensorflow": "9", "numpy": "9"}
    monkeypatch.setattr("server.given.versions", lambda: found)
    go_on(folder)
    (line,) = (record.getMessage() for record in caplog.records if "versions differ" in record.getMessage())
    assert re.search(r"keras was \d[\d.]*, is 9.9", line)
    assert set(RunFolder(folder).summary.versions) == set(found)


@pytest.mark.slow
def test_a_finished_run_is_prolonged_to_the_bits_of_one_that_was_as_long_from_the_start(data, tmp_path):
    settings = {"task": f"npz:{data.path}", **SETTINGS}
    whole = run({**settings, "rounds": 6}, "local", tmp_path / "whole", False, False, QUIET)
    folder = run(settings, "local", tmp_path / "run", False, False, QUIET)
    with pytest.raises(InputError, match=r"this run has finished; --rounds above 4 prolongs it"):
        go_on(folder)
    with pytest.raises(InputError, match=r"rounds must be above 4, the last round of .*, got 3"):
        go_on(folder, rounds=3)
    assert RunFolder(folder).summary  # of the run as it was
    go_on(folder, rounds=6)
    assert shared(folder) == shared(whole)
    last, other = RunFolder(folder).summary, RunFolder(whole).summary
    assert (last.rounds, last.shared_sha256, last.quality.shared) == (6, other.shared_sha256, other.quality.shared)
    assert "# After round 4 rounds became 6, before it was 4" in (folder / "config.toml").read_text()
    for left in folder.glob("clients.state*"):
        left.unlink()
    with pytest.raises(InputError, match=r"the clients' states aren't here"):
        go_on(folder, rounds=8)


@pytest.mark.slow
def test_a_run_whose_finishing_rounds_have_begun_keeps_its_length(stopped, data, tmp_path):
    settings = {"task": f"npz:{data.path}", **SETTINGS, "rounds": 2, "edge.sparsity": 0.5, "edge.finish_rounds": 2}
    folder = stop_after(3, run, settings, "local", tmp_path / "run", False, False, QUIET)
    with pytest.raises(InputError, match=r"rounds can't become 6: finishing rounds have begun after round 2"):
        go_on(folder, rounds=6)
    assert rounds(folder) == [1, 2, 3]
    longer = go_on(folder, rounds=3, from_round=2)
    whole = run({**settings, "rounds": 3}, "local", tmp_path / "whole", False, False, QUIET)
    assert shared(longer) == shared(whole)
    with pytest.raises(InputError, match=r"finished, and its finishing rounds have made another model"):
        go_on(folder, rounds=6)


@pytest.mark.slow
def test_a_run_goes_back_to_a_round_that_is_kept(data, tmp_path):
    settings = {"task": f"npz:{data.path}", **SETTINGS}
    folder = run(settings, "local", tmp_path / "run", False, False, QUIET)
    before = shared(folder)
    with pytest.raises(InputError, match=r"--from-round must be one of the rounds that are kept, 3 or 4, got 1"):
        go_on(folder, from_round=1)
    assert RunFolder(folder).summary
    stop_after(4, go_on, folder, from_round=3)
    assert shared(folder) == before
    done = CliRunner().invoke(app, ["run", "--resume", str(folder), "--from-round", "3", "--rounds", "5"])
    assert done.exit_code == 0, done.output
    assert shared(folder)[:4] == before
    assert rounds(folder) == [1, 2, 3, 4, 5]


@pytest.mark.slow
def test_the_later_rounds_are_gone_before_the_run_goes_on(data, tmp_path, monkeypatch):
    folder = run({"task": f"npz:{data.path}", **SETTINGS}, "local", tmp_path / "run", False, False, QUIET)
    monkeypatch.setattr("server.app._run", lambda *_: None)
    go_on(folder, from_round=3)
    assert [path.name for path in (folder / "checkpoint").iterdir()] == ["round-3.safetensors"]
    assert rounds(folder) == [1, 2, 3]
    assert RunFolder(folder).summary is None


def test_a_fingerprint_is_of_contents_and_not_of_paths_threads_or_rounds(data):
    from fedkd.protocol.resolve import resolve

    def fingerprint(path=data.path, **settings):
        return resolve({"task": f"npz:{path}", "clients": 3, **settings}).fingerprint

    first = fingerprint()
    assert fingerprint(data(data.path.with_name("copy.npz")), threads=2, rounds=50) == first
    assert fingerprint(seed=1) != first
    nodes = {"partition.kind": "nodes"}
    assert fingerprint(**nodes) not in (first, fingerprint(data(y_test=2 - data.arrays["y_test"]), **nodes))


def test_a_node_that_lacks_what_stays_with_the_server_has_its_fingerprint(data, tmp_path):
    from fedkd.protocol.resolve import resolve

    calibration = tmp_path / "calibration.npz"
    np.savez(calibration, x=data.arrays["x_test"])
    settings = {"task": f"npz:{data.path}", "clients": 3, "partition.kind": "nodes"}
    settings["edge.calibration_file"] = str(calibration)
    server = resolve(settings).fingerprint
    calibration.unlink()
    assert resolve(settings).fingerprint == server


def test_owners_and_stretches_are_content():
    from fedkd.config.config import Config
    from fedkd.protocol.contents import contents_of

    task = tests.tiny.task()
    found = contents_of(task, Config())
    train = replace(task.train, segments=np.arange(len(task.train)))
    assert contents_of(replace(task, train=train), Config()).keys() - found.keys() == {"segment_train"}
    train = replace(task.train, owners=np.array([f"pump {owner}" for owner in task.train.owners], object))
    other = contents_of(replace(task, train=train), Config())
    assert [name for name in found if found[name] != other[name]] == ["client_train"]
