"""Laws of publishing a run: devices get what the run made, and what is wrong is said before anything is signed."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from clients.device.classify import classify
from clients.device.protocol.manifest import unpack
from clients.device.state import State
from server.hub.repository import Repository
from sims.cli import app
from tests.device.hubs import fetched
from tests.device.models import adder, crasher


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
    return folder


def fedkd(*arguments):
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
    row = {"path": "chosen.tflite", "accuracy": {"litert": 0.5}}
    (edge / "edge.json").write_text(json.dumps({"chosen": "chosen.tflite", "candidates": [row]}))
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
        (["run", "--hub", "run"], "must be a new folder or a hub's"),
        (["run", "--hub", "run/config.toml"], "must be a folder, it is a file"),
        (["run", "--hub", "hub", "--channel", "../up"], "--channel: a channel must be 1 to 64 of"),
    ],
)
def test_what_cannot_be_published_is_one_line_and_leaves_no_hub(run, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    done = fedkd("publish", *arguments)
    assert done.exit_code == 2, done.output
    assert said in done.output
    assert done.output.startswith("error: ")
    assert done.output.count("\n") == 1
    assert not (tmp_path / "hub").exists()


def test_hub_commands_refuse_what_is_no_hub(tmp_path):
    for arguments in (["refresh", tmp_path], ["rotate", tmp_path, "root"], ["serve", tmp_path, "--insecure"]):
        done = fedkd("hub", *arguments)
        assert (done.exit_code, done.output.count("\n")) == (2, 1)
        assert "no TUF repository" in done.output
    done = fedkd("hub", "serve", tmp_path)
    assert done.exit_code == 2
    assert "--cert and --key are needed" in done.output


def test_refresh_and_rotate_say_what_they_signed(run, tmp_path):
    fedkd("publish", run, "--hub", tmp_path / "hub")
    assert fedkd("hub", "refresh", tmp_path / "hub").output == "signed: timestamp\n"
    assert fedkd("hub", "rotate", tmp_path / "hub", "snapshot").output.startswith("new key for snapshot; signed: root,")
