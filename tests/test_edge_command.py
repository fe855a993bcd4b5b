"""Laws of `fedkd edge`."""

import hashlib
import json

import keras
import numpy as np
import pytest
from keras import layers
from typer.testing import CliRunner

from sims.cli import app
from tests import tiny

TASK = "tests.tiny:task"
BUDGET = "flash=8KB,macs=20k,drop=60"


def call(*arguments):
    return CliRunner().invoke(app, ["edge", *map(str, arguments)])


def result_of(folder):
    return json.loads((folder / "edge.json").read_text())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 1))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)))
    whole = keras.Model(inputs, layers.Dense(3)(layers.Flatten()(layers.MaxPooling2D()(x))))
    examples = tiny.task().train
    whole.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    whole.fit(examples.x, examples.y, epochs=20, verbose=0)
    whole.save(path := tmp_path_factory.mktemp("model") / "stripes.keras")
    return path


@pytest.fixture(scope="module")
def searched(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("searched") / "edge"
    return call(model, "--task", TASK, "--budget", BUDGET, "--out", out), out


def test_it_writes_every_candidate_and_chooses_one_that_meets_every_line(searched):
    said, out = searched
    assert said.exit_code == 0, said.output
    result = result_of(out)
    assert {
        "task",
        "source",
        "budget",
        "n",
        "hardware",
        "calibration",
        "stages",
        "candidates",
        "failed",
        "chosen",
    } <= set(result)
    assert result["budget"] == {"flash": 8192, "macs": 20000, "drop": 60.0}
    paths = {each["path"] for each in result["candidates"]}
    assert paths == {path.name for path in out.glob("*.tflite")}
    chosen = next(each for each in result["candidates"] if each["path"] == result["chosen"])
    assert chosen["verdict"] == "usable"
    assert all(check["ok"] for check in chosen["checks"])
    assert len(chosen["layers"]) > 3
    assert chosen["accuracy"]["tflm"] is None
    assert "chosen: " in said.output


def test_the_candidates_are_precisions_channels_and_clusters(searched):
    recipes = {each["recipe"] for each in result_of(searched[1])["candidates"]}
    assert {"float32", "int8", "int16x8", "channels 50%, int8", "clusters 4 bits, int8_per_tensor"} <= recipes


def test_intervals_hold_their_accuracies(searched):
    result = result_of(searched[1])
    assert all(stage["low"] <= stage["accuracy"] <= stage["high"] for stage in result["stages"])
    assert all(
        low <= each["accuracy"]["litert"] <= high for each in result["candidates"] for low, high in [each["interval"]]
    )


def test_the_same_seed_leads_to_the_same_files(searched, model, tmp_path):
    call(model, "--task", TASK, "--budget", BUDGET, "--out", tmp_path / "again")
    hashes = [
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.tflite")}
        for folder in (searched[1], tmp_path / "again")
    ]
    assert hashes[0] == hashes[1]


def test_an_impossible_budget_is_exit_3_and_one_line_with_what_to_relax(model, tmp_path):
    said = call(model, "--task", TASK, "--budget", "flash=500", "--out", tmp_path / "edge")
    assert said.exit_code == 3
    (line,) = said.stderr.strip().splitlines()
    assert "no candidate meets the budget" in line
    assert "500 allowed; allow flash=" in line
    result = result_of(tmp_path / "edge")
    assert result["chosen"] is None
    assert result["closest"]["path"] in {each["path"] for each in result["candidates"]}
    assert any("left out: flash is at least" in each["error"] for each in result["failed"])
    relaxed = call(model, "--task", TASK, "--budget", result["closest"]["relax"], "--out", tmp_path / "relaxed")
    assert relaxed.exit_code == 0


def recurrent(folder):
    inputs = keras.Input((6, 6))
    x = layers.Dense(3)(layers.LSTM(4)(inputs))
    keras.Model(inputs, x).save(folder / "lstm.keras")


def cut(folder):
    (folder / "cut.keras").write_bytes(b"PK\3\4 cut short")


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["none.keras", "--task", TASK], "none.keras: no such run or model"),
        (["cut.keras", "--task", TASK], "cut.keras: not a .keras file, or a damaged one"),
        (["."], "not the folder of a run, it has no config.toml"),
        (["stripes.keras"], "a model's task must be given: --task NAME"),
        (["stripes.keras", "--task", "digits"], "doesn't fit task 'digits', of inputs (8, 8, 1) and outputs (10,)"),
        (["stripes.keras", "--task", TASK, "--calibration", "cut.keras"], "must be an .npz with the array x"),
        (
            ["stripes.keras", "--task", TASK, "--calibration", "rows.npz"],
            "x must be float32 of shape (n, 6, 6, 1), got",
        ),
        (["stripes.keras", "--task", TASK, "--out", "."], "out: . exists; choose another folder"),
        (["stripes.keras", "--task", TASK, "--out", ".", "--overwrite"], "is not the folder of a search"),
        (["stripes.keras", "--task", TASK, "--budget", "ram=1KB"], "unknown line 'ram'"),
    ],
)
def test_bad_input_gets_one_line_and_code_2_and_writes_nothing(model, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stripes.keras").write_bytes(model.read_bytes())
    cut(tmp_path)
    np.savez(tmp_path / "rows.npz", x=np.zeros((4, 5, 5, 1), np.float32))
    before = set(tmp_path.iterdir())
    said = call("--budget", "flash=8KB", *arguments)
    assert said.exit_code == 2
    assert words in said.stderr
    assert len(said.stderr.strip().splitlines()) == 1
    assert set(tmp_path.iterdir()) == before
