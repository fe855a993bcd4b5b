"""Tables, numbers and labels from an .npz to a verified int8 file and a report of their own metric."""

import json

import keras
import numpy as np
import pytest

import fedkd
from fedkd.edge.runtime import predict
from server.hub.model import ChosenFile, manifest_of
from sims.edge.fine_tune import fine_tuned
from tests.test_cli import call

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(260, 7)) * [1, 20, 300, 1, 1, 1, 5] + [0, 9, -70, 0, 0, 0, 1]).astype(np.float32)
Z = (X - X.mean(0)) / X.std(0)
SETTINGS = {"clients": 3, "train.epochs": 3, "edge.precisions": "int8", "edge.finish_rounds": 1}
KINDS = {
    "classification": {"y": (Z[:, 0] + Z[:, 1] > 0).astype(int) + (Z[:, 2] > 0.3), "classes": np.array(list("abc"))},
    "regression": {"y": (40 * Z[:, 0] - 25 * Z[:, 1] + 150).astype(np.float32), "targets": np.array("sugar")},
    "multi_label": {"y": (Z[:, :3] > [0, 0.3, -0.2]).astype(int), "classes": np.array(list("xyz"))},
}


@pytest.fixture(scope="module", params=[pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS])
def done(request, tmp_path_factory):
    folder, arrays = tmp_path_factory.mktemp(request.param), dict(KINDS[request.param])
    y = arrays.pop("y")
    path = folder / "data.npz"
    np.savez(path, x_train=X[:200], y_train=y[:200], x_test=X[200:], y_test=y[200:], **arrays)
    run = fedkd.run(f"npz:{path}", rounds=6, settings=SETTINGS, out=folder / "run", progress=False)
    return request.param, path, run


def test_the_student_beats_the_best_constant_answer_and_int8_is_as_good(done):
    kind, _, run = done
    metric, quality = run.summary.metrics[0], run.summary.quality
    assert metric.lost(quality.baseline, quality.shared) > 0
    (file,) = run.files
    assert (file.precision, file.error) == ("int8", None)
    assert metric.lost(quality.baseline, file.quality["litert"]) > 0
    assert file.agreement["litert"] > 0.8
    record = json.loads((run.folder / "task.json").read_text())
    assert record["objective"] == kind
    assert len(record["inputs"]["mean"]) == 7
    assert (record["outputs"] is not None) == (kind == "regression")


def test_task_json_is_enough_to_feed_a_file_and_read_its_answers(done):
    kind, path, run = done
    record = json.loads((run.folder / "task.json").read_text())
    rows = ((X[200:] - np.array(record["inputs"]["mean"])) / np.array(record["inputs"]["scale"])).astype(np.float32)
    outputs = predict(run.folder / "student_int8.tflite", rows)
    if kind == "regression":
        answers = outputs * np.array(record["outputs"]["scale"]) + np.array(record["outputs"]["offset"])
        found = np.abs(answers[:, 0] - KINDS[kind]["y"][200:]).mean()
        assert found == pytest.approx(run.files[0].quality["litert"], rel=1e-4)
    task = fedkd.load_task(f"npz:{path}", run_models())
    assert task.objective.metrics[0].of(outputs, task.test.y) == pytest.approx(run.files[0].quality["litert"])


def run_models():
    from fedkd.config.model import ModelConfig

    return ModelConfig()


def test_pages_say_the_metric_of_the_task_and_commands_too(done):
    kind, path, run = done
    label, page = run.summary.metrics[0].label, (run.folder / "report.html").read_text()
    assert ("Examples of each class at each client" in page) == (run.summary.metrics[0].name == "accuracy")
    assert label in page.lower() or label in page
    assert kind == "classification" or "ccuracy" not in page
    said = call("evaluate", run.folder / "student_int8.tflite", "--task", f"npz:{path}")
    assert label in said.output


def test_devices_that_the_hub_serves_are_for_classes_of_plain_inputs(done):
    kind, _, run = done
    found = ChosenFile(run.folder / "student_int8.tflite", run.folder, 0.5)
    rule = "standardises them" if kind == "classification" else f"is {kind}"
    with pytest.raises(fedkd.InputError, match=rule):
        manifest_of(found, "default", 1)


@pytest.mark.slow
def test_a_search_of_files_keeps_to_the_metric_and_tells_a_firmware_how_to_feed_and_read_them(done):
    kind, _, run = done
    out = run.folder.parent / "edge"
    lost = 40 if kind == "regression" else 5  # in units of the target; in points
    said = call("edge", run.folder, "--budget", f"flash=5KB,drop={lost}", "--c-array", "--out", out)
    assert said.exit_code == 0, said.output
    metric, page = run.summary.metrics[0], (out / "edge.html").read_text()
    assert f"{metric.title} at each stage" in page
    assert kind == "classification" or "ccuracy" not in page.partition("For scale")[0]
    chosen = json.loads((out / "edge.json").read_text())
    assert chosen["metric"]["name"] == metric.name
    header, source = (out / "model_data.h").read_text(), (out / "model_data.cc").read_text()
    assert "extern const float g_feature_mean[7];" in header
    assert ("g_target_offset[1]" in header) == ("const float g_target_offset[1]" in source) == (kind == "regression")


def test_a_model_without_a_run_is_fine_tuned_by_the_tasks_own_loss(done):
    _, path, run = done
    task = fedkd.load_task(f"npz:{path}", run_models())
    model = run.student
    model.set_weights([0.7 * array for array in model.get_weights()])

    def loss():
        share = np.full(len(task.train), 1 / len(task.train), np.float32)
        return float(task.objective.loss(model(task.train.x), task.train.y, share))

    before = loss()
    fine_tuned(task, 0)(model)
    assert loss() < 0.9 * before
    keras.models.clone_model(model)
