"""An .npz says by its targets what is learned: classes, labels or numbers; rows of a table are standardised."""

import numpy as np
import pytest

from fedkd.base.errors import InputError
from fedkd.config.model import ModelConfig
from fedkd.objectives.classification import Classification
from fedkd.objectives.multi_label import MultiLabel
from fedkd.tasks.own import read_own, write_own
from fedkd.tasks.registry import load_task

MODELS = ModelConfig()
RNG = np.random.default_rng(0)
X = (RNG.normal(size=(40, 6)) * [1, 10, 100, 1, 1, 0] + [0, 50, -3, 0, 0, 4]).astype(np.float32)


def load(path, **arrays):
    held = {"x_train": X[:30], "x_test": X[30:], **arrays}
    np.savez(path, **held)
    return load_task(f"npz:{path}", MODELS)


def test_rows_of_a_table_are_standardised_on_the_training_rows(tmp_path):
    y = RNG.integers(0, 3, 40)
    task = load(tmp_path / "t.npz", y_train=y[:30], y_test=y[30:], classes=np.array(list("abc")))
    assert task.objective == Classification(("a", "b", "c"))
    np.testing.assert_allclose(task.train.x.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(task.train.x.std(0)[:5], 1, rtol=1e-4)
    assert (task.train.x[:, 5] == 0).all()  # a constant feature
    np.testing.assert_allclose(task.test.x[:, 1], (X[30:, 1] - X[:30, 1].mean()) / X[:30, 1].std(), rtol=1e-4)
    assert task.teacher().count_params() > 5 * task.student().count_params()
    assert task.student().output["logits"].shape == (None, 3)


def test_a_nodes_own_rows_are_standardised_like_the_tasks(tmp_path):
    y = RNG.integers(0, 3, 40)
    task = load(tmp_path / "t.npz", y_train=y[:30], y_test=y[30:], classes=np.array(list("abc")))
    np.savez(tmp_path / "raw.npz", x=X[:5], y=y[:5])
    np.testing.assert_array_equal(read_own(tmp_path / "raw.npz", task).x, task.train.x[:5])
    write_own(tmp_path / "own.npz", task.train.take(np.arange(5)))
    np.testing.assert_array_equal(read_own(tmp_path / "own.npz", task).x, task.train.x[:5])


@pytest.mark.parametrize("columns", [0, 1, 2])
def test_floats_are_numbers_to_be_predicted(tmp_path, columns):
    y = (RNG.normal(size=(40, columns) if columns else 40) * 30 + 150).astype(np.float32)
    task = load(tmp_path / "r.npz", y_train=y[:30], y_test=y[30:])
    assert task.classes == (("target",) if columns < 2 else ("target 0", "target 1"))
    assert task.train.y.shape == (30, max(columns, 1))
    assert task.objective.offset[0] == pytest.approx(float(y.reshape(40, -1)[:30, 0].mean()), rel=1e-5)
    assert task.student().output["logits"].shape == (None, max(columns, 1))


def test_names_of_targets_are_the_files(tmp_path):
    y = RNG.normal(size=40)
    task = load(tmp_path / "r.npz", y_train=y[:30], y_test=y[30:], targets=np.array("sugar"))
    assert task.classes == ("sugar",)


def test_columns_of_0_and_1_are_labels(tmp_path):
    y = RNG.integers(0, 2, (40, 3))
    task = load(tmp_path / "m.npz", y_train=y[:30], y_test=y[30:], classes=np.array(list("abc")))
    assert task.objective == MultiLabel(("a", "b", "c"))
    assert task.train.y.dtype == np.float32


@pytest.mark.parametrize(
    "arrays, words",
    [
        ({"y_train": np.zeros(30), "y_test": np.zeros(10), "classes": np.array(["a", "b"])}, "leave classes out"),
        ({"y_train": np.zeros(30, int), "y_test": np.zeros(10, int)}, "arrays missing: classes"),
        ({"y_train": np.zeros((30, 2), int), "y_test": np.zeros((10, 2), int)}, "arrays missing: classes"),
        ({"y_train": np.zeros((30, 2)), "y_test": np.zeros((10, 3))}, r"y_test must have shape \(n, 2\)"),
        ({"y_train": np.zeros((30, 2)), "y_test": np.zeros((10, 2)), "targets": np.array(["a"])}, "got 1 names"),
        ({"y_train": np.full(30, np.inf), "y_test": np.zeros(10)}, "y_train holds NaN or Inf"),
        (
            {"y_train": np.full((30, 2), 2), "y_test": np.zeros((10, 2), int), "classes": np.array(["a", "b"])},
            "y_train must hold 0 and 1 alone, got 2",
        ),
    ],
)
def test_targets_of_no_kind_are_refused(tmp_path, arrays, words):
    with pytest.raises(InputError, match=words):
        load(tmp_path / "bad.npz", **arrays)
