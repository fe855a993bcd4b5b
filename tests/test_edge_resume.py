"""Laws of a search that is cut off: what was measured stays, and it ends as if it never had been."""

import hashlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from fedkd.base.python import python
from fedkd.base.tensors import digest
from fedkd.edge.convert import Conversion
from fedkd.edge.device_runtime import Run
from fedkd.edge.measure import Measurement
from fedkd.edge.search import Variant
from sims.edge import candidate, fine_tune, search
from sims.edge.candidate import Measured
from sims.edge.kept import Kept, Step
from sims.edge.place import unfinished
from tests import tiny
from tests.test_edge_command import TASK, call

BUDGET = "flash=8KB,macs=20k,drop=100"
quickly = pytest.mark.usefixtures("quick")


def convert(path, rows, out, precisions, stem, modules, compared, trust):
    """A file of other bytes for every other weight, which takes no converter and so no time."""
    weights = digest(keras.saving.load_model(path, compile=False).get_weights())
    done = []
    for precision in precisions:
        file = out / f"{stem}_{precision}.tflite"
        file.write_text(f"{precision} {weights}")
        done.append(Conversion(precision, file, None))
    return done


def measure(path, x, runtimes):
    """Answers that depend on the file's bytes alone."""
    rng = np.random.default_rng(list(path.read_bytes()))
    runs = {name: Run(rng.normal(size=(len(x), 3)).astype(np.float32)) for name in runtimes}
    return Measurement(path, path.read_text().split()[0], path.stat().st_size, 40, 0, 3, (), 0.1, runs, {})


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(candidate, "convert", convert)
    monkeypatch.setattr(candidate, "measure", measure)
    monkeypatch.setattr(candidate, "layer_table", lambda *_: [])
    monkeypatch.setattr(search, "precisions", lambda _, share: ("float32", "int8") if share == 1 else ("int8",))
    monkeypatch.setattr(search, "_SMALL", 0.5)
    monkeypatch.setattr(fine_tune, "_STEPS", 8)
    monkeypatch.setattr("sims.report.edge_page.write_edge_page", lambda _: None)


@pytest.fixture
def model(tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 1))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", use_bias=False)(inputs)))
    x = layers.Dropout(0.3)(layers.Flatten()(layers.MaxPooling2D()(x)))
    keras.Model(inputs, layers.Dense(3)(x)).save(tmp_path / "m.keras")
    return tmp_path / "m.keras"


def searched(model, out, *more):
    return call(model, "--task", TASK, "--budget", BUDGET, "--out", out, *more)


def content(out):
    """All files but the pages made of edge.json."""
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in out.glob("*.tflite")}
    return files | {"edge.json": json.loads((out / "edge.json").read_text())}


def cut_off(monkeypatch, place, name, after):
    """Have a function interrupt its caller after some calls, and return what counts them."""
    calls, own = [], getattr(place, name)

    def counted(*arguments, **named):
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(arguments)
        return own(*arguments, **named)

    monkeypatch.setattr(place, name, counted)
    return calls


@quickly
@pytest.mark.slow
def test_it_ends_with_the_same_bytes_however_often_it_was_cut_off(model, tmp_path, monkeypatch):
    whole, out = tmp_path / "whole", tmp_path / "parts"
    assert searched(model, whole).exit_code == 0
    for place, name, after in ((candidate, "measure", 1), (Kept, "keep_weights", 0), (candidate, "measure", 1)):
        with monkeypatch.context() as patch:
            cut_off(patch, place, name, after)
            said = searched(model, out, *["--resume"] * unfinished(out).exists())
        assert said.exit_code == 130, said.output
        assert "the same command with --resume goes on from there" in said.stderr
        assert not out.exists()
    again = cut_off(monkeypatch, candidate, "measure", 99)
    assert searched(model, out, "--resume").exit_code == 0
    assert 0 < len(again) < len(list(whole.glob("*.tflite"))) - 2
    assert content(out) == content(whole)
    assert {path.name for path in tmp_path.iterdir()} == {"whole", "parts", "m.keras"}


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on(model, tmp_path):
    """Real files in processes of their own; of edge.json only the latencies differ."""
    command = python("-c", "from sims.cli import main; main()", "edge", str(model), "--task", TASK, "--budget", BUDGET)
    whole, out = tmp_path / "whole", tmp_path / "parts"
    subprocess.run([*command, "--out", str(whole)], check=True, capture_output=True)
    with subprocess.Popen([*command, "--out", str(out)], stdout=subprocess.PIPE, text=True) as process:
        next(line for line in process.stdout if line.startswith("4 of about"))
        process.kill()
    assert not any(out.iterdir())
    done = subprocess.run([*command, "--out", str(out), "--resume"], check=True, capture_output=True, text=True)
    assert "1 of about" in done.stdout
    first, second = content(whole), content(out)
    for result in (first, second):
        for row in result["edge.json"]["candidates"]:
            del row["latency_ms"]
    assert first == second


@pytest.fixture
def begun(model, tmp_path, monkeypatch):
    """The folder of a search that was killed, as it leaves it."""
    with monkeypatch.context() as patch:
        cut_off(patch, candidate, "measure", 1)
        searched(model, out := tmp_path / "edge")
    out.mkdir()
    return out


@quickly
@pytest.mark.parametrize(
    "change, words",
    [
        (["--seed", "1"], "seed was 0, is 1"),
        (["--budget", "flash=9KB"], "budget.flash was 8192, is 9216; "),
        (["--calibration", "rows.npz"], "calibration differs"),
        (["--task", "tests.test_edge_resume:noisier"], "task was 'tiny', is 'noisier'; x_test differs"),
    ],
)
def test_other_inputs_are_refused_by_name_and_what_was_kept_stays(begun, model, change, words, monkeypatch):
    monkeypatch.chdir(model.parent)
    np.savez("rows.npz", x=np.zeros((4, 6, 6, 1), np.float32))
    before = sorted(unfinished(begun).rglob("*"))
    said = searched(model, begun, "--resume", *change)
    assert said.exit_code == 2
    (line,) = said.stderr.strip().splitlines()
    assert "this isn't the search that was cut off" in line
    assert words in line
    assert sorted(unfinished(begun).rglob("*")) == before


@quickly
def test_another_model_or_version_is_refused_by_name(begun, model, monkeypatch):
    changed = keras.saving.load_model(model)
    changed.set_weights([weight + 1 for weight in changed.get_weights()])
    changed.save(model)
    monkeypatch.setattr("sims.edge.inputs.versions", lambda *_: {"keras": "2.0"})
    said = searched(model, begun, "--resume").stderr
    assert f"keras was '{keras.__version__}', is '2.0'" in said
    assert "the model differs" in said


def noisier():
    task = tiny.task()
    return replace(task, name="noisier", test=replace(task.test, x=task.test.x + 1))


@quickly
def test_a_search_that_was_cut_off_is_not_lost_unasked(begun, model):
    said = searched(model, begun)
    assert said.exit_code == 2
    assert f"{unfinished(begun)} holds a search that was cut off; --resume goes on with it" in said.stderr
    assert unfinished(begun).is_dir()


@quickly
def test_overwrite_begins_again(begun, model, monkeypatch):
    begun.rmdir()
    cut_off(monkeypatch, candidate, "measure", 0)
    assert searched(model, begun, "--overwrite").exit_code == 130
    assert not unfinished(begun).exists()


def test_there_must_be_something_to_go_on_with(model, tmp_path):
    said = searched(model, tmp_path / "edge", "--resume")
    assert said.exit_code == 2
    assert "no search was cut off" in said.stderr
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "edge.json").write_text("{}")
    assert "this search has finished" in searched(model, tmp_path / "done", "--resume").stderr


def test_a_file_that_is_not_what_was_measured_is_made_anew(tmp_path):
    kept = Kept(tmp_path, tmp_path)
    (tmp_path / "m_int8.tflite").write_bytes(b"whole")
    file = candidate.Candidate(
        "int8", "m_int8.tflite", recipe="int8", uncounted=[], ops=[], layers=[], quality={"litert": 0.1 + 0.2}
    )
    kept.keep_step(Variant(), "int8", Step(1.5, Measured(file, True)))
    assert kept.step(Variant(), "int8") == Step(1.5, Measured(file, True))
    assert kept.step(Variant(), "float32") is None
    (tmp_path / "m_int8.tflite").write_bytes(b"half")
    assert kept.step(Variant(), "int8") is None


def test_why_a_file_failed_is_kept_but_is_nothing_to_go_on_with(tmp_path):
    kept = Kept(tmp_path, tmp_path)
    kept.keep_step(Variant(), "int8", Step(1.0, error="no kernel"))
    assert kept.step(Variant(), "int8") == Step(1.0, error="no kernel")
    assert not kept.begun


def test_weights_come_back_as_they_were_whatever_their_floats(tmp_path):
    import ml_dtypes

    kept, rng = Kept(Path(tmp_path), tmp_path), np.random.default_rng(0)
    weights = [rng.normal(size=(3, 4)).astype(np.float32).T, rng.normal(size=5).astype(ml_dtypes.bfloat16)]
    kept.keep_weights(Variant(share=0.5), weights, 2.0)
    found, seconds = kept.weights(Variant(share=0.5))
    assert seconds == 2.0
    assert all(np.array_equal(a, b) for a, b in zip(found, weights, strict=True))
