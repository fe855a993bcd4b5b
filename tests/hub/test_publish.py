"""Laws of publishing a run: devices get what the run made, and what is wrong is said before anything is signed."""

import json
from datetime import timedelta

import numpy as np
import pytest
from typer.testing import CliRunner

from clients.device.classify import classify
from clients.device.protocol.manifest import Golden, unpack
from clients.device.state import State
from server.hub.golden import drawn
from server.hub.repository import Repository
from sims.cli import app
from tests.device import models
from tests.device.hubs import NOW, fetched, hub
from tests.device.models import adder, crasher, release
from tests.report.edges import a_candidate, an_edge, write_edge


@pytest.fixture
def run(tmp_path):
    """A run's folder with an int8 file in name, and one beside it that no interpreter survives."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.toml").write_text('task = "tests.device.models:task"\n')
    summary = {"name": "made", "edge": [{"path": "student_int8.tflite", "precision": "int8", "accuracy": 0.75}]}
    (folder / "summary.json").write_text(json.dumps(summary))
    (folder / "history.jsonl").write_text("")
    (folder / "student_int8.tflite").write_bytes(adder((0, 0, 0)))
    (folder / "bad.tflite").write_bytes(crasher())
    (folder / "my model.tflite").write_bytes(adder((0, 0, 0)))
    (folder / "nan.tflite").write_bytes(adder((0, float("nan"), 0)))
    return folder


def fedkd(*arguments):
    """Runs a command; the runs of these tests are of a task of the tests' own."""
    trust = ["--trust"] if arguments[0] == "publish" else []
    return untrusting(*arguments, *trust)


def untrusting(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_published_run_reaches_a_device_with_what_its_manifest_says(run, tmp_path):
    done = fedkd("publish", run, "--hub", tmp_path / "hub")
    assert done.exit_code == 0, done.output
    assert "published as default version 1: student_int8.tflite" in done.output
    made, state = Repository(tmp_path / "hub"), State(tmp_path / "device")
    manifest = fetched(state, made).manifest
    assert (manifest.run, manifest.task, manifest.accuracy) == ("run", "colours", 0.75)
    assert manifest.input == {
        "shape": [3], "dtype": "float32", "scale": 0.0, "zero_point": 0, "feed": "the float32 numbers themselves",
    }  # fmt: skip
    np.testing.assert_array_equal(manifest.golden.logits, manifest.golden.x)  # it adds nothing
    assert len(manifest.golden.x) == 8
    assert manifest.pack() == unpack(manifest.pack()).pack()
    x = np.array([0, 5, 0], np.float32)
    np.save(tmp_path / "x.npy", x)
    assert [answer["label"] for answer in classify(state, tmp_path / "x.npy")["answers"]] == ["green"]
    assert fedkd("publish", run, "--hub", tmp_path / "hub").exit_code == 0
    assert fetched(state, made).manifest.version == 2


def test_the_file_that_a_search_chose_can_be_published(run, tmp_path):
    edge = run / "edge"
    edge.mkdir()
    write_edge(edge, an_edge(a_candidate("chosen.tflite", accuracy={"litert": 0.5})))
    (edge / "chosen.tflite").write_bytes(adder((0, 0, 0)))
    done = fedkd("publish", edge, "--hub", tmp_path / "hub", "--channel", "small")
    assert "small version 1: chosen.tflite" in done.output
    made = unpack(Repository(tmp_path / "hub").read("small/manifest.json"))
    assert (made.run, made.accuracy) == ("run", 0.5)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["none", "--hub", "hub"], "none: not the folder of a run, it has no config.toml"),
        (["run", "--hub", "hub", "--file", "x.tflite"], "no device file x.tflite; --file takes one of: bad.tflite,"),
        (["run", "--hub", "hub", "--file", "bad.tflite"], "can't be published: the model can't run here"),
        (["run", "--hub", "hub", "--file", "my model.tflite"], "its file must have a plain name"),
        (["run", "--hub", "hub", "--file", "nan.tflite"], "every device would refuse it"),
        (["run", "--hub", "hub", "--version", "0"], "--version: must be above 0, the channel's newest, and below 2^63"),
        (["run", "--hub", "hub", "--version", str(2**63)], "--version: must be above 0"),
        (["edge", "--hub", "hub"], "edge.json: not what `fedkd edge` wrote, it is damaged"),
        (["run", "--hub", "run"], "must be a new folder or a hub's"),
        (["run", "--hub", "run/config.toml"], "must be a folder, it is a file"),
        (["run", "--hub", "hub", "--channel", "../up"], "--channel: a channel must be 1 to 64 of"),
    ],
)
def test_what_cannot_be_published_is_one_line_and_leaves_no_hub(run, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "edge").mkdir()
    (tmp_path / "edge/edge.json").write_text('{"candidates": [{"path": "x"}]}')
    done = fedkd("publish", *arguments)
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert done.output.startswith("error: ")
    assert done.output.count("\n") == 1
    assert not (tmp_path / "hub").exists()


def test_a_file_that_loses_more_than_it_may_is_published_where_it_is_named_only(run, tmp_path):
    lost = "accuracy falls by 30.1 points in litert, 2.0 allowed"
    row = {"path": "student_int8.tflite", "precision": "int8", "quality": {"litert": 0.45}, "warning": lost}
    (run / "summary.json").write_text(json.dumps({"name": "made", "edge": [row]}))
    done = fedkd("publish", run, "--hub", tmp_path / "hub")
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert f"student_int8.tflite: isn't to be used: {lost}; --file names another" in done.output
    assert not (tmp_path / "hub").exists()
    assert fedkd("publish", run, "--hub", tmp_path / "hub", "--file", "student_int8.tflite").exit_code == 0


def test_a_manifest_that_is_larger_than_devices_read_is_not_signed(run, tmp_path, monkeypatch):
    monkeypatch.setattr("clients.device.protocol.manifest.LARGEST_MANIFEST", 100)
    done = fedkd("publish", run, "--hub", tmp_path / "hub")
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert "a manifest has at most 100 bytes" in done.output
    assert not (tmp_path / "hub").exists()


def test_versions_may_leap_and_only_rise(run, tmp_path):
    """After a thief's: devices that took it believe only what is above."""
    assert "default version 1000:" in fedkd("publish", run, "--hub", tmp_path / "hub", "--version", 1000).output
    done = fedkd("publish", run, "--hub", tmp_path / "hub", "--version", 1000)
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert "--version: must be above 1000" in done.output
    assert "default version 1001:" in fedkd("publish", run, "--hub", tmp_path / "hub").output


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"task": "shapes"}, "its devices have task shapes, this model has colours"),
        ({"labels": ("a", "b", "c")}, "its devices have labels ['a', 'b', 'c'], this model has"),
    ],
)
def test_a_model_of_another_task_replaces_none_unless_that_is_wanted(run, tmp_path, changes, said):
    made = hub(tmp_path / "hub", release(3, (0, 0, 0), **changes))
    done = fedkd("publish", run, "--hub", made.folder)
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert said in done.output
    assert made.version() == 1
    assert "default version 4:" in fedkd("publish", run, "--hub", made.folder, "--replace-task").output


def test_a_model_of_another_input_replaces_none(run, tmp_path):
    golden = Golden(np.zeros((1, 2, 2), np.float32), np.zeros((1, 3), np.float32), 0.0)
    made = hub(tmp_path / "hub", release(1, (0, 0, 0), golden=golden, input={"shape": [2, 2]}))
    done = fedkd("publish", run, "--hub", made.folder)
    assert done.exit_code == 2
    assert "its devices have input shape [2, 2], this model has [3]" in done.output


def test_a_channel_whose_manifest_is_no_one_s_is_said_in_one_line(run, tmp_path):
    made = hub(tmp_path / "hub", {"default/manifest.json": b"{}"})
    done = fedkd("publish", run, "--hub", made.folder)
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert "publish to another --channel" in done.output
    assert fedkd("publish", run, "--hub", made.folder, "--channel", "sound").exit_code == 0


def test_hub_commands_refuse_what_is_no_hub(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "typo"):
        for command in (["refresh", place], ["rotate", place, "root"], ["serve", place, "--insecure"]):
            done = fedkd("hub", *command)
            assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert not (tmp_path / "typo").exists()
    for arguments in (["refresh", tmp_path], ["rotate", tmp_path, "root"], ["serve", tmp_path, "--insecure"]):
        done = fedkd("hub", *arguments)
        assert (done.exit_code, done.output.count("\n")) == (2, 1)
        assert "no TUF repository" in done.output
    done = fedkd("hub", "serve", tmp_path)
    assert done.exit_code == 2
    assert "--cert and --key are needed" in done.output


def test_refresh_says_what_it_cannot_sign_and_fails_once_that_is_over(tmp_path):
    """Targets and snapshot live 90 days: after 60 they are due, after 100 no device believes them."""
    for age, code in ((60, 0), (100, 1)):
        made = hub(tmp_path / f"hub{age}", release(1, (0, 0, 0)), now=NOW - timedelta(days=age))
        (key,) = made.keys.glob("targets-*.pem")
        key.unlink()
        done = fedkd("hub", "refresh", made.folder)
        assert done.exit_code == code
        end = NOW + timedelta(days=90 - age)
        assert f"not signed: targets, its key isn't here; devices believe it until {end:%Y-%m-%d}\n" in done.output
        assert "not signed: snapshot" not in done.output
        assert ("devices get nothing: targets expired" in done.output) == bool(code)


def test_refresh_and_rotate_say_what_they_signed(run, tmp_path):
    fedkd("publish", run, "--hub", tmp_path / "hub")
    assert fedkd("hub", "refresh", tmp_path / "hub").output == "signed: timestamp\n"
    assert fedkd("hub", "rotate", tmp_path / "hub", "snapshot").output.startswith("new key for snapshot; signed: root,")


def published(hub, name="default"):
    return unpack(Repository(hub).read(f"{name}/manifest.json"))


def test_a_run_whose_task_is_somebodys_code_is_not_published_untrusted(run, tmp_path, monkeypatch):
    monkeypatch.setattr("server.hub.model.load_task", lambda *_: pytest.fail("ran it"))
    done = untrusting("publish", run, "--hub", tmp_path / "hub")
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert (
        "config.toml: task = 'tests.device.models:task' is Python code that would run here; give --trust" in done.output
    )
    assert not (tmp_path / "hub").exists()


def test_that_rows_of_the_test_set_are_shown_to_everybody_is_said(run, tmp_path):
    said = fedkd("publish", run, "--hub", tmp_path / "hub").output
    assert "note: its manifest shows 8 rows of the test set, as they are, to whoever asks; --golden FILE.npz" in said


def test_golden_examples_may_be_drawn(run, tmp_path):
    """By the run's seed: another publication shows the same ones, and no row of the test set."""
    done = fedkd("publish", run, "--hub", tmp_path / "hub", "--golden", "synthetic")
    assert done.exit_code == 0, done.output
    assert "note:" not in done.output
    fedkd("publish", run, "--hub", tmp_path / "again", "--golden", "synthetic")
    first, second = (published(tmp_path / name).golden for name in ("hub", "again"))
    np.testing.assert_array_equal(first.x, second.x)
    assert first.x.shape == (8, 3)
    rows = {row.tobytes() for row in models.task().test.x}
    assert not rows & {row.tobytes() for row in first.x}
    assert fetched(State(tmp_path / "device"), Repository(tmp_path / "hub")).manifest.version == 1


def test_golden_examples_may_be_a_files(run, tmp_path):
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.savez(tmp_path / "mine.npz", x=x)
    done = fedkd("publish", run, "--hub", tmp_path / "hub", "--golden", tmp_path / "mine.npz")
    assert "note:" not in done.output
    np.testing.assert_array_equal(published(tmp_path / "hub").golden.x, x)


@pytest.mark.parametrize(
    "x, said",
    [(None, "no such file; --golden takes"), (np.zeros((2, 4), np.float32), "examples of shape (3,)"),
     (np.full((1, 3), np.nan, np.float32), "must be finite"),
     (np.zeros((99_999, 3), np.float32), "a manifest is small; got 99999")],
)  # fmt: skip
def test_a_golden_file_that_does_not_do_is_one_line(run, tmp_path, x, said):
    if x is not None:
        np.savez(tmp_path / "mine.npz", x=x)
    done = fedkd("publish", run, "--hub", tmp_path / "hub", "--golden", tmp_path / "mine.npz")
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert said in done.output
    assert not (tmp_path / "hub").exists()


def test_drawn_examples_are_what_the_input_can_hold():
    rng, floats = np.random.default_rng(0), np.random.default_rng(1).normal(5, 2, (200, 30)).astype(np.float32)
    near = drawn(floats, {"dtype": "float32", "scale": 0.0, "zero_point": 0}, 100, rng)
    assert abs(near.mean() - 5) < 0.2
    assert abs(near.std() - 2) < 0.2
    held = drawn(floats, {"dtype": "int8", "scale": 0.5, "zero_point": 28}, 100, rng)
    assert (held.min() >= -78, held.max() <= 49.5, held.dtype) == (True, True, np.float32)
    assert held.max() - held.min() > 120
    ids = drawn(np.array([[0, 3], [9, 1]], np.int32), {"dtype": "int32", "scale": 0.0, "zero_point": 0}, 100, rng)
    assert (ids.dtype, ids.min(), ids.max()) == (np.int32, 0, 9)
