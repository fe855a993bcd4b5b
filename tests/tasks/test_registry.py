"""Laws of how tasks are found, and of .npz files."""

import sys

import numpy as np
import pytest

from fedkd.base.errors import InputError
from fedkd.config.model import ModelConfig
from fedkd.tasks.registry import load_task
from fedkd.tasks.task import Task

MODELS = ModelConfig()


def arrays(**changes):
    rng = np.random.default_rng(0)
    good = {
        "x_train": rng.normal(size=(30, 16, 3)).astype(np.float16),
        "y_train": (np.arange(30) % 3).astype(np.uint8),
        "x_test": rng.normal(size=(9, 16, 3)).astype(np.float16),
        "y_test": (np.arange(9) % 3).astype(np.uint8),
        "classes": np.array(["a", "b", "c"]),
    }
    return {k: v for k, v in {**good, **changes}.items() if v is not None}


def write(path, **changes):
    np.savez(path, **arrays(**changes))
    return f"npz:{path}"


def test_digits_keep_a_fifth_of_each_class_for_testing():
    task = load_task("digits", MODELS)
    assert (len(task.train), len(task.test)) == (1437, 360)
    assert set(np.bincount(task.test.y)) <= {35, 36, 37}


def test_windows_images_and_words_are_told_apart_by_shape_and_type(tmp_path):
    windows = load_task(write(tmp_path / "w.npz", client_train=np.arange(30) % 4), MODELS)
    assert windows.train.x.dtype == np.float32
    assert windows.train.owners is not None
    assert windows.student().input_shape == (None, 16, 3)
    pixels = np.full((30, 8, 8), 255, np.uint8)
    images = load_task(write(tmp_path / "i.npz", x_train=pixels, x_test=pixels[:9]), MODELS)
    assert images.train.x.shape == (30, 8, 8, 1)
    assert images.train.x.max() == 1.0
    ids = np.tile(np.arange(10, dtype=np.int32), (30, 1))
    words = load_task(write(tmp_path / "t.npz", x_train=ids, x_test=ids[:9]), ModelConfig(vocabulary=6))
    assert words.train.x.max() == 5
    assert words.train.x[0].tolist() == [0, 1, 2, 3, 4, 5, 1, 1, 1, 1]
    assert set(words.student().output) == {"logits", "hidden", "attention", "values", "mask"}


def table_with_a_hole(rows):
    table = np.ones((rows, 4), np.float32)
    table[7, 2] = np.nan
    return table


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"y_test": None}, "arrays missing: y_test"),
        ({"y_train": np.full(30, 3, np.uint8)}, "y_train holds label 3, labels must be from 0 to 2"),
        ({"y_train": np.full(30, -1)}, "y_train holds label -1"),
        ({"y_train": np.zeros(29, int)}, "x_train has 30 rows, y_train has 29"),
        ({"y_train": np.zeros(30, np.float32)}, "y_train holds float32, so it is numbers to be predicted"),
        ({"x_train": np.full((30, 16, 3), np.nan, np.float32)}, r"x_train holds NaN or Inf \(first in row 0\)"),
        (
            {"x_train": table_with_a_hole(30), "x_test": table_with_a_hole(9)},
            r"x_train holds NaN or Inf \(first in row 7, column 2\)",
        ),
        ({"x_train": np.zeros(30, np.float32)}, "x_train must be images"),
        ({"x_test": np.zeros((9, 15, 3), np.float32)}, r"x_test has examples of shape \(15, 3\)"),
        ({"x_train": np.zeros((0, 16, 3), np.float32), "y_train": np.zeros(0, int)}, "the train split is empty"),
        ({"client_train": np.zeros(4, int)}, "client_train has 4 rows"),
        ({"x_train": np.array([None] * 30)}, "not a readable .npz file of plain arrays"),
    ],
)
def test_malformed_npz_is_refused_with_array_and_rule(tmp_path, changes, words):
    with pytest.raises(InputError, match=words) as caught:
        load_task(write(tmp_path / "bad.npz", **changes), MODELS)
    assert "bad.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_and_foreign_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none.npz: no such file"):
        load_task(f"npz:{tmp_path}/none.npz", MODELS)
    (tmp_path / "text.npz").write_text("not a zip file")
    with pytest.raises(InputError, match=r"text.npz: not a readable .npz"):
        load_task(f"npz:{tmp_path}/text.npz", MODELS)
    with pytest.raises(InputError, match="not a readable"):
        load_task(f"npz:{tmp_path}", MODELS)


def test_unknown_task_names_the_known_ones():
    with pytest.raises(InputError, match="unknown task 'cats'; known: digits, fashion_mnist, "):
        load_task("cats", MODELS)


def test_own_task_is_found_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "my_task.py").write_text(
        "from fedkd.config.config import ModelConfig\n"
        "from fedkd.tasks.registry import load_task\n"
        "def task():\n    return load_task('digits', ModelConfig())\n"
        "def wrong():\n    return 3\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, ""])
    assert isinstance(load_task("my_task:task", MODELS), Task)
    with pytest.raises(InputError, match="has no function 'other'"):
        load_task("my_task:other", MODELS)
    with pytest.raises(InputError, match=r"must return a .*Task, got int"):
        load_task("my_task:wrong", MODELS)
    with pytest.raises(InputError, match="no module 'nowhere'"):
        load_task("nowhere:task", MODELS)


@pytest.mark.parametrize(
    "line, said",
    [
        ("import json; json.nothing", "AttributeError: module 'json' has no attribute 'nothing'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise ValueError('two\\nlines')", "ValueError: two lines"),
    ],
)
def test_what_the_users_module_raises_is_told_as_its_own_in_one_line(line, said, tmp_path, monkeypatch):
    name = f"broken_{abs(hash(line))}"
    (tmp_path / f"{name}.py").write_text(f"{line}\ndef task():\n    return 1\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=said) as caught:
        load_task(f"{name}:task", MODELS)
    assert "\n" not in str(caught.value)
