"""Laws of the models that a run gives away: Keras loads them, alone, and they are what the run has measured."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from fedkd.base.errors import RunError
from fedkd.base.tensors import digest
from fedkd.models import transformer
from fedkd.models.inspect import get_weights, logits_model
from fedkd.results.run_folder import read
from sims.cli import app
from sims.run import run
from tests import tiny

ROOT = Path(__file__).parents[1]
SETTINGS = {"task": "tests.tiny:task", "clients": 2, "rounds": 2, "edge.sparsity": 0, "edge.precisions": "none"}
# Reads a model and inputs, and writes what the model answers; says whether fedkd was imported.
ALONE = """
import sys
{0}
import keras, numpy as np
model = keras.saving.load_model(sys.argv[1])
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))
print(any(name.split(".")[0] == "fedkd" for name in sys.modules))
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that can be prolonged: its clients' states are one file."""
    return run(SETTINGS, "local", tmp_path_factory.mktemp("export") / "run", False, False, Console(quiet=True))


def call(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def exported(folder, file, *which):
    done = call("export", folder, *which, "--out", file, "--trust")
    assert done.exit_code == 0, done.output
    return keras.saving.load_model(file), done.output


def accuracy(model):
    test = tiny.examples(60, 1)
    return float(np.mean(model.predict(test.x, verbose=0).argmax(1) == test.y))


def answers(model, x, folder, imports=""):
    """What a process of Keras alone makes of a model; whether it knows fedkd."""
    np.save(folder / "x.npy", x)
    command = [sys.executable, "-P", "-c", ALONE.format(imports), model, folder / "x.npy", folder / "y.npy"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env={"PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    return np.load(folder / "y.npy"), done.stdout.strip() == "True"


@pytest.mark.slow
def test_teachers_are_those_that_were_measured_and_load_without_fedkd(finished, tmp_path):
    found = [exported(finished, tmp_path / f"{i}.keras", "--teacher", i) for i in range(2)]
    assert [f"teacher-{i} after round 2: " in said for i, (_, said) in enumerate(found)] == [True, True]
    assert np.mean([accuracy(model) for model, _ in found]) == pytest.approx(read(finished).quality.teacher_mean)
    assert digest(found[0][0].get_weights()) != digest(found[1][0].get_weights())
    x = tiny.examples(8, 3).x
    mine, knows = answers(tmp_path / "0.keras", x, tmp_path)
    np.testing.assert_allclose(mine, found[0][0].predict(x, verbose=0), rtol=1e-5, atol=1e-6)
    assert not knows


def test_the_student_is_the_runs_and_loads_without_fedkd(finished, tmp_path):
    model, _ = exported(finished, tmp_path / "s.keras", "--student")
    assert digest(get_weights(model)) == read(finished).history[-1].shared_sha256
    assert accuracy(model) == pytest.approx(read(finished).quality.shared)
    x = tiny.examples(8, 3).x
    mine, knows = answers(finished / "student.keras", x, tmp_path)
    np.testing.assert_allclose(mine, model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)
    assert not knows


@pytest.mark.slow
def test_a_text_model_takes_one_import(tmp_path):
    model = logits_model(transformer.student(6, 30, 3, 8))
    model.save(tmp_path / "text.keras")
    x = np.random.default_rng(0).integers(0, 30, (5, 6)).astype(np.int32)
    mine, _ = answers(tmp_path / "text.keras", x, tmp_path, "from fedkd import TokenEmbedding")
    np.testing.assert_allclose(mine, model.predict(x, verbose=0), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_a_run_that_stopped_gives_what_it_has_reached(tmp_path, monkeypatch):
    """In finishing rounds, whose student is another: the student is that of training, teachers have trained on."""

    def stop(*_):
        raise RunError("stopped")

    settings = SETTINGS | {"rounds": 1, "edge.qat": True, "edge.finish_rounds": 1}
    monkeypatch.setattr("server.app.summarise", stop)
    with pytest.raises(RunError, match="stopped"):
        run(settings, "local", tmp_path / "run", False, False, Console(quiet=True))
    monkeypatch.undo()
    model, said = exported(tmp_path / "run", tmp_path / "s.keras", "--student")
    assert "student after round 1: " in said
    assert digest(get_weights(model)) == read(tmp_path / "run").history[0].shared_sha256
    _, said = exported(tmp_path / "run", tmp_path / "t.keras", "--teacher", "1")
    assert "teacher-1 after round 2: " in said


@pytest.mark.slow
def test_clients_that_are_kept_and_finishing_rounds(tmp_path):
    settings = SETTINGS | {"rounds": 1, "edge.sparsity": 0.5, "edge.finish_rounds": 1}
    folder = run(settings, "local", tmp_path / "run", False, True, Console(quiet=True))
    model, said = exported(folder, tmp_path / "t.keras", "--teacher", "1")
    assert "teacher-1 after round 2: " in said
    assert model.name == "teacher"


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--trust"], "--teacher N or --student: one of the two says which"),
        (["--teacher", "0", "--student", "--trust"], "--teacher N or --student: one of the two says which"),
        (["--teacher", "2", "--trust"], "--teacher must be from 0 to 1, this run's clients, got 2"),
        (["--teacher", "0"], "task = 'tests.tiny:task' is Python code that would run here; give --trust"),
        (["--teacher", "0", "--trust", "--out", "t.h5"], "--out must end with .keras, got t.h5"),
    ],
)
def test_wrong_wishes_are_one_line_and_write_nothing(finished, tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    done = call("export", finished, *arguments)
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert said in done.output
    assert list(tmp_path.iterdir()) == []


def changed(folder, target, *changes):
    """A run's folder whose configuration says something else."""
    text = (folder / "config.toml").read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    target.mkdir()
    (target / "config.toml").write_text(text)
    (target / "history.jsonl").write_text("")
    return target


@pytest.mark.parametrize(
    "which, changes, said",
    [
        ("--student", [], "has no student yet: no round has ended"),
        ("--teacher=0", [], "holds no teacher of client 0: a run keeps them with --keep-clients"),
        ("--student", [('shared = "student"', 'shared = "teacher"')], "shares no student"),
        ("--teacher=0", [('shared = "student"', 'shared = "teacher"')], "has all clients share one teacher"),
        ("--teacher=0", [('models = "both"', 'models = "student"')], "trains no teacher"),
    ],
)
def test_what_a_run_does_not_hold_is_said(finished, tmp_path, which, changes, said):
    folder = changed(finished, tmp_path / "run", *changes)
    done = call("export", folder, which, "--trust")
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert said in done.output
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_file_that_exists_is_kept(finished, tmp_path):
    (tmp_path / "t.keras").write_text("mine")
    done = call("export", finished, "--student", "--trust", "--out", tmp_path / "t.keras")
    assert (done.exit_code, "exists; choose another file, or give --overwrite" in done.output) == (2, True)
    assert (tmp_path / "t.keras").read_text() == "mine"
    exported(finished, tmp_path / "t.keras", "--student", "--overwrite")
