"""A federation that learns which news users click, from MIND's files to a device file, in both engines."""

import io

import numpy as np
import pytest
from rich.console import Console

from fedkd.config.model import ModelConfig
from fedkd.edge.runtime import predict
from fedkd.objectives.objective import quality
from fedkd.protocol.resolve import resolve
from fedkd.results.run_folder import read
from fedkd.tasks.registry import load_task
from sims.run import run
from tests import mind_folder, pretrained_folder

SETTINGS = {"task": "mind", "clients": 0, "rounds": 4, "train.epochs": 4, "train.batch_size": 16, "edge.sparsity": 0}
SETTINGS |= {"train.teacher_lr": 0.01, "train.student_lr": 0.02, "train.holdout": 0.1, "edge.calibration": 16}
SETTINGS |= {"model.teacher_width": 16, "model.student_width": 16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return mind_folder.write(tmp_path_factory.mktemp("mind") / "data", train=200)


@pytest.fixture(
    scope="module", params=[pytest.param(each, marks=pytest.mark.slow) for each in ("fedavg_student", "fedkd")]
)
def done(request, folder, tmp_path_factory):
    said, out = io.StringIO(), tmp_path_factory.mktemp("run") / "run"
    settings = {**SETTINGS, "data": str(folder), "edge.precisions": "float32 int8", "method": request.param}
    run(settings, "local", out, False, False, Console(file=said, width=140))
    return out, said.getvalue()


def test_a_federation_of_four_folds_learns_what_users_click(done):
    out, said = done
    record = read(out)
    last = record.history[-1]
    assert list(last.shared) == ["auc", "mrr", "ndcg5", "ndcg10"]
    assert last.shared["auc"] > 0.8
    assert last.shared["ndcg5"] > record.history[0].shared["ndcg5"]
    assert len(last.participants) == 4
    assert record.task.objective == "ranking"
    assert "AUC" in said


def test_its_file_ranks_as_the_model_does(done, folder):
    out, _ = done
    task, files = load_task("mind", ModelConfig(), str(folder)), {f.precision: f for f in read(out).summary.files}
    outputs = predict(out / "student_float32.tflite", task.test.x)
    auc = quality(task.objective, outputs, task.test.y)["auc"]
    assert auc == pytest.approx(read(out).history[-1].shared["auc"], abs=0.01)
    assert files["float32"].quality["litert"] == pytest.approx(auc)
    assert files["int8"].error is None
    assert files["int8"].quality["litert"] > auc - 0.05


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fedavg_student", "fedkd"])
def test_both_engines_train_alike(folder, method):
    """Mutual losses, hidden states and attention maps included; LiteRT sums in another order."""
    small = {**SETTINGS, "data": f"{folder}#history=3", "model.teacher_width": 8, "model.student_width": 8}
    small |= {
        "train.epochs": 1,
        "partition.examples": 64,
        "train.batch_size": 8,
        "train.optimizer": "sgd",
        "method": method,
    }
    found = []
    for engine in ("tensorflow", "litert"):
        experiment = resolve(small | {"train.engine": engine})
        trainer, (data, _) = experiment.local().trainer, experiment.client_data(0)
        before = trainer.initial_state()
        after, losses = trainer.fit(before, data, np.random.default_rng(0))
        found.append((before, after, losses))
    (start, ours, mine), (other, theirs, yours) = found
    assert mine == pytest.approx(yours, rel=1e-4)
    for role in (*trainer.roles, *(["projection"] if method == "fedkd" else [])):
        for first, second, here, there in zip(start[role], other[role], ours[role], theirs[role], strict=True):
            np.testing.assert_array_equal(first, second)
            np.testing.assert_allclose(here, there, atol=1e-5)
        assert max(np.abs(b - a).max() for a, b in zip(start[role], ours[role], strict=True)) > 1e-3


@pytest.mark.slow
def test_first_layers_of_a_pretrained_model_read_the_titles(folder, tmp_path):
    bert = pretrained_folder.write(tmp_path / "bert", hidden_act="relu")
    settings = {"task": "mind", "data": f"{folder}#history=3,test=10", "rounds": 1, "edge.precisions": "none"}
    settings |= {"model.pretrained": str(bert), "model.student_layers": 1, "model.teacher_layers": 2}
    out = run(
        settings | {"partition.examples": 64, "edge.sparsity": 0},
        "local",
        tmp_path / "run",
        False,
        False,
        Console(quiet=True),
    )
    assert 0 <= read(out).history[-1].shared["auc"] <= 1
