"""Laws of `fedkd edge`."""

import hashlib
import json
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from typer.testing import CliRunner

from fedkd.compress.qat import quantize_aware
from fedkd.edge.budget import parse_budget
from fedkd.edge.convert import Conversion, convert_here
from fedkd.edge.tflm import TFLM
from sims.cli import app
from tests import tiny
from tests.report.runs import a_round, write

TASK = "tests.tiny:task"
WHOLE = ("float32", "int8", "int16x8")
BUDGET = "flash=8KB,macs=20k,drop=60"


def call(*arguments):
    return CliRunner().invoke(app, ["edge", *map(str, arguments)])


def result_of(folder):
    return json.loads((folder / "edge.json").read_text())


def hashes(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.tflite")}


def convert(path, rows, out, precisions, stem, modules, compared, trust):
    """Without a child process, whose start takes most of the time; one precision fails."""
    with tempfile.TemporaryDirectory(dir=out) as work:
        np.save(Path(work, "calibration.npy"), rows)
        np.save(Path(work, "rows.npy"), compared)
        whole = [each for each in precisions if each != "int16x8"]
        done = list(convert_here(path, Path(work), out / stem, whole, modules))
    return done + [Conversion("int16x8", None, "the converter died of SIGSEGV")] * ("int16x8" in precisions)


@pytest.fixture(scope="module", autouse=True)
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sims.edge.candidate.convert", convert)
        patch.setattr("sims.edge.search.precisions", lambda _, share: WHOLE if share == 1 else ("int8",))
        patch.setattr("sims.edge.search._SMALL", 0.5)
        yield


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


@pytest.fixture(scope="module")
def in_vain(model, tmp_path_factory):
    out = tmp_path_factory.mktemp("in_vain") / "edge"
    return call(model, "--task", TASK, "--budget", "flash=100", "--out", out), out


def test_it_writes_every_candidate_and_chooses_one_that_meets_every_line(searched):
    said, out = searched
    assert said.exit_code == 0, said.output
    result = result_of(out)
    assert result["budget"] == {"flash": 8192, "macs": 20000, "drop": 60.0}
    assert {each["path"] for each in result["candidates"]} == set(hashes(out))
    chosen = next(each for each in result["candidates"] if each["path"] == result["chosen"])
    assert chosen["verdict"] == "usable"
    assert all(check["ok"] for check in chosen["checks"])
    assert all(layer["snr_db"] > 10 for layer in chosen["layers"] if layer["macs"])
    assert chosen["quality"]["tflm"] is None
    assert "chosen: " in said.output
    assert (out / "edge.html").is_file()


def test_a_precision_that_fails_is_listed_and_the_others_go_on(searched):
    result = result_of(searched[1])
    assert result["failed"] == [{"recipe": "int16x8", "error": "the converter died of SIGSEGV"}]
    assert "int16x8: no file: the converter died of SIGSEGV" in searched[0].output


def test_the_candidates_are_precisions_channels_and_clusters(searched):
    recipes = {each["recipe"] for each in result_of(searched[1])["candidates"]}
    assert {"float32", "int8", "channels 50%, int8", "clusters 4 bits, int8_per_tensor"} <= recipes


def test_intervals_hold_their_accuracies(searched):
    result = result_of(searched[1])
    assert all(stage["low"] <= stage["quality"] <= stage["high"] for stage in result["stages"])
    assert all(
        low <= each["quality"]["litert"] <= high for each in result["candidates"] for low, high in [each["interval"]]
    )


@pytest.mark.slow
def test_an_impossible_budget_is_exit_3_and_one_line_with_what_to_relax(in_vain):
    said, out = in_vain
    assert said.exit_code == 3
    (line,) = said.stderr.strip().splitlines()
    assert "no candidate meets the budget" in line
    assert "100 allowed; allow flash=" in line
    result = result_of(out)
    assert result["chosen"] is None
    nearest = next(each for each in result["candidates"] if each["path"] == result["closest"]["path"])
    assert nearest["flash_bytes"] == min(each["flash_bytes"] for each in result["candidates"])
    assert parse_budget(result["closest"]["relax"]).flash >= nearest["flash_bytes"]


def test_what_cannot_fit_is_left_out_unseen(in_vain):
    left_out = [each for each in result_of(in_vain[1])["failed"] if "left out: flash is at least" in each["error"]]
    assert [each["recipe"] for each in left_out] == ["channels 50%"]


@pytest.mark.slow
def test_the_same_seed_leads_to_the_same_files_and_overwrites_none_unasked(in_vain, model):
    _, out = in_vain
    first, again = hashes(out), ("--task", TASK, "--budget", "flash=100", "--out", out)
    assert call(model, *again).exit_code == 2
    assert call(model, *again, "--overwrite").exit_code == 3
    assert hashes(out) == first
    assert {path.name for path in out.parent.iterdir()} == {"edge"}


@pytest.fixture(scope="module")
def run(model, tmp_path_factory):
    """The folder of a run that finished with training that sees int8, and whose server has no example."""
    folder = write(tmp_path_factory.mktemp("runs") / "run", [a_round(1, 2), a_round(2, 2)])
    settings = [
        "clients = 2",
        "edge.qat = true",
        "edge.sparsity = 0.0",
        "edge.finish_rounds = 1",
        "edge.calibration = 0",
    ]
    (folder / "config.toml").write_text("\n".join([f'task = "{TASK}"', *settings]))
    whole, examples = keras.saving.load_model(model, compile=False), tiny.task().train
    aware = quantize_aware(whole).model
    aware.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    aware.fit(examples.x, examples.y, epochs=2, verbose=0)
    for name, each in (("student", whole), ("student_finished", whole), ("student_aware", aware)):
        each.save(folder / f"{name}.keras")
    return folder


@pytest.fixture(scope="module")
def firmware(run):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sims.edge.search.shares", lambda *_: [])
        patch.setattr("sims.edge.search.Search._clustered", lambda *_: None)
        return call(run, "--trust", "--budget", "flash=8KB,drop=60", "--c-array"), run / "edge"


needs_micro = pytest.mark.skipif(not TFLM.installed(), reason="has wheels for Linux on x86-64 only")


@needs_micro
@pytest.mark.slow
def test_what_a_run_finished_with_is_a_candidate_that_needs_no_examples(firmware):
    said, out = firmware
    assert said.exit_code == 0, said.output
    result = result_of(out)
    last = next(each for each in result["candidates"] if each["recipe"] == "finished, int8 (qat)")
    assert last["float_tensors"] == 0
    assert last["quality"]["litert"] >= last["quality"]["keras"] - 0.1
    assert result["calibration"] is None


@needs_micro
@pytest.mark.slow
def test_without_examples_clients_learn_the_ranges_and_what_needs_them_is_listed(firmware):
    result = result_of(firmware[1])
    assert {"float32", "int8 (qat)"} <= {each["recipe"] for each in result["candidates"]}
    whys = {each["recipe"]: each["error"] for each in result["failed"]}
    assert "need calibration rows and there are none" in whys["int8"]


@needs_micro
@pytest.mark.slow
def test_source_for_a_firmware_is_of_a_file_that_ran_there(firmware):
    _, out = firmware
    result = result_of(out)
    chosen = next(each for each in result["candidates"] if each["path"] == result["chosen"])
    assert chosen["arena_bytes"] > 0
    assert {check["runtime"] for check in chosen["checks"]} == {"file", "litert", "tflm"}
    assert chosen["path"] in (out / "model_data.h").read_text()


@needs_micro
@pytest.mark.slow
def test_a_mean_over_clients_has_no_interval_of_one_model(firmware):
    teacher, student, *_ = result_of(firmware[1])["stages"]
    assert (teacher["low"], teacher["high"]) == (None, None)
    assert student["low"] <= student["quality"] <= student["high"]


def test_source_for_a_firmware_takes_tensorflow_lite_micro(model, tmp_path, monkeypatch):
    monkeypatch.setattr("fedkd.edge.tflm.Micro.installed", lambda _: False)
    said = call(model, "--task", TASK, "--budget", BUDGET, "--out", tmp_path / "edge", "--c-array")
    assert said.exit_code == 2
    assert "arena in the budget and --c-array need TFLite Micro: pip install" in said.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_cannot_be_converted_is_one_line_and_not_trained(model, tmp_path, monkeypatch):
    def fails(path, rows, out, precisions, stem, modules, compared, trust):
        return [Conversion(each, None, f"{path}: no kernel") for each in precisions]

    monkeypatch.setattr("sims.edge.candidate.convert", fails)
    monkeypatch.setattr("sims.edge.source.fine_tuned", lambda *_: lambda model: pytest.fail("trained"))
    said = call(model, "--task", TASK, "--budget", BUDGET, "--out", tmp_path / "edge")
    assert said.exit_code == 2
    assert said.stderr.strip().endswith("no file of it could be made: float32: model.keras: no kernel")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_computes_something_else_has_no_accuracy(tmp_path, monkeypatch):
    """As if it were exported in training, with each example's own statistics."""

    def export(model, folder):
        signature = [keras.InputSpec(shape=(1, *model.inputs[0].shape[1:]), dtype="float32")]
        model.export(folder, verbose=False, input_signature=signature)

    inputs = keras.Input((6, 6, 1))
    x = layers.BatchNormalization()(layers.Conv2D(4, 3)(layers.Resizing(6, 6)(inputs)))
    keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x))).save(tmp_path / "m.keras")
    monkeypatch.setattr("fedkd.edge.inference.export", export)
    monkeypatch.setattr("sims.edge.source.fine_tuned", lambda *_: lambda model: pytest.fail("trained"))
    said = call(tmp_path / "m.keras", "--task", TASK, "--budget", BUDGET, "--out", tmp_path / "edge")
    assert said.exit_code == 2
    assert "a file must compute what its model computes, within 0.0001 of" in " ".join(said.stderr.split())
    assert [path.name for path in tmp_path.iterdir()] == ["m.keras"]


def test_ctrl_c_leaves_nothing(model, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("sims.edge.candidate.measure", interrupt)
    said = call(model, "--task", TASK, "--budget", BUDGET, "--out", tmp_path / "edge")
    assert said.exit_code == 130
    assert list(tmp_path.iterdir()) == []
