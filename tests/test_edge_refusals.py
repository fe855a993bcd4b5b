"""What `fedkd edge` refuses, before it does anything."""

import keras
import numpy as np
import pytest
from keras import layers

from tests.test_edge_command import TASK, call


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["none.keras", "--task", TASK], "none.keras: no such run or model"),
        (["cut.keras", "--task", TASK], "cut.keras: not a .keras file, or a damaged one"),
        (["."], "not the folder of a run, it has no config.toml"),
        (["run"], "config.toml: task = 'tests.tiny:task' is Python code that would run here; give --trust"),
        (["unfinished"], "has no student.keras: the run was interrupted"),
        (
            ["run", "--task", "digits", "--trust"],
            "a run of task 'tests.tiny:task', --task says 'digits'; leave --task out",
        ),
        (["stripes.keras"], "a model's task must be given: --task NAME"),
        (["stripes.keras", "--task", "digits"], "doesn't fit task 'digits', of inputs (8, 8, 1) and outputs (10,)"),
        (["stripes.keras", "--task", TASK, "--calibration", "cut.keras"], "not a readable .npz file with an array x"),
        (
            ["stripes.keras", "--task", TASK, "--calibration", "rows.npz"],
            "x must hold examples of shape (6, 6, 1) in float32, as the model takes them, got",
        ),
        (["stripes.keras", "--task", TASK, "--out", "."], "out: . exists; choose another folder"),
        (["stripes.keras", "--task", TASK, "--out", ".", "--overwrite"], "is not the folder of a search"),
        (["stripes.keras", "--task", TASK, "--budget", "ram=1KB"], "unknown line 'ram'"),
        (["stripes.keras", "--task", TASK, "--budget", "drop=101"], "drop must be from 0 to 100 points of accuracy"),
        (["stripes.keras", "--task", TASK, "--emulate", "esp32"], "--emulate must be pi4, got 'esp32'"),
    ],
)
def test_bad_input_gets_one_line_and_code_2_and_writes_nothing(tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    inputs = keras.Input((6, 6, 1))
    keras.Model(inputs, layers.Dense(3)(layers.Flatten()(inputs))).save(tmp_path / "stripes.keras")
    (tmp_path / "cut.keras").write_bytes(b"PK cut short")
    for name in ("run", "unfinished"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.toml").write_text(f'task = "{TASK}"')
    (tmp_path / "run" / "student.keras").write_bytes(b"")
    np.savez(tmp_path / "rows.npz", x=np.zeros((4, 5, 5, 1), np.float32))
    before = set(tmp_path.iterdir())
    said = call("--budget", "flash=8KB", *arguments)
    assert said.exit_code == 2
    assert words in said.stderr
    assert len(said.stderr.strip().splitlines()) == 1
    assert set(tmp_path.iterdir()) == before
