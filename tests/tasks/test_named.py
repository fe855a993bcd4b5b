"""Laws of the named tasks, on small files of their formats."""

import numpy as np
import pytest

from fedkd.base.errors import InputError
from fedkd.config.model import ModelConfig
from fedkd.config.settings import build
from fedkd.models.inspect import parameters
from fedkd.results.run_folder import run_path
from fedkd.tasks import named
from fedkd.tasks.registry import TASKS, load_task

MODELS = ModelConfig()
# Those that are read from arrays; the others have tests of their own.
ARRAYS = {task.name: task for task in named._ALL}
SHAPES = {
    "fashion_mnist": (28, 28),
    "mnist": (28, 28),
    "cifar10": (32, 32, 3),
    "uci_har": (128, 9),
    "fsdd": (49, 40),
    "ade": (64,),
    "sms_spam": (48,),
    "trec6": (32,),
}
FROM_FILES = [name for name, task in ARRAYS.items() if task.download is None]


def arrays(name, count=40):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (count, *SHAPES[name]), np.uint8)
    x = {1: x.astype(np.int32), 2: x}.get(len(SHAPES[name]), x)
    x = (x / 255).astype(np.float16) if name == "uci_har" else x
    y = (np.arange(count) % len(ARRAYS[name].classes)).astype(np.uint8)
    return {"x_train": x, "y_train": y, "x_test": x[:12], "y_test": y[:12]}


def write(path, name, **changes):
    np.savez(path, **{k: v for k, v in {**arrays(name), **changes}.items() if v is not None})
    return str(path)


@pytest.mark.parametrize("name", ARRAYS)
def test_named_task_reads_its_file_and_has_a_teacher_larger_than_its_student(tmp_path, name):
    task = load_task(name, MODELS, write(tmp_path / "data.npz", name))
    assert (task.name, len(task.train), len(task.test)) == (name, 40, 12)
    assert task.classes == ARRAYS[name].classes
    student, teacher = task.student(), task.teacher()
    assert student.input_shape[1:3] == SHAPES[name][:2]
    assert parameters(teacher) > 3 * parameters(student)
    assert build(dict(task.defaults)).partition.kind == ("natural" if name in ("uci_har", "fsdd") else "iid")
    assert str(run_path("", build({"task": name, "seed": 3}))) == f"runs/{name}-fedkd-3"


def test_users_width_wins_over_the_tasks(tmp_path):
    file = write(tmp_path / "data.npz", "trec6")
    narrow = load_task("trec6", ModelConfig(student_width=8), file)
    assert narrow.student().get_layer("embedding").width == 8
    assert narrow.teacher().get_layer("embedding").width == ARRAYS["trec6"].teacher_width


def test_a_files_own_names_of_classes_win(tmp_path):
    file = write(tmp_path / "data.npz", "ade", classes=np.array(["no", "yes"]))
    assert load_task("ade", MODELS, file).classes == ("no", "yes")


@pytest.mark.parametrize("name", FROM_FILES)
def test_without_a_file_one_line_says_which_and_where_from(name):
    for data, words in (("", "needs a file, give --data FILE"), ("none.npz", "none.npz: no such file")):
        with pytest.raises(InputError) as caught:
            load_task(name, MODELS, data)
        assert words in str(caught.value)
        assert f"task '{name}'" in str(caught.value)
        assert ARRAYS[name].where in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"y_train": None}, "data.npz: arrays missing: y_train; needed: x_train, y_train, x_test, y_test"),
        ({"classes": np.array(list("abc"))}, "data.npz: task 'ade' has 2 classes, got 3"),
        ({"y_test": np.full(12, 2)}, "data.npz: y_test holds label 2, labels must be from 0 to 1"),
        (
            {"x_train": np.zeros((40, 64), np.float32), "x_test": np.zeros((12, 64), np.float32)},
            "data.npz: x_train must be words for task 'ade', got float32 of shape (40, 64)",
        ),
        (
            {"y_train": np.zeros((40, 2), np.int32), "y_test": np.zeros((12, 2), np.int32)},
            "data.npz: y_train must be one class per example",
        ),
    ],
)
def test_file_of_another_kind_is_named_with_the_rule(tmp_path, changes, words):
    with pytest.raises(InputError) as caught:
        load_task("ade", MODELS, write(tmp_path / "data.npz", "ade", **changes))
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["digits", "npz:a.npz", "my_task:task"])
def test_file_for_a_task_that_takes_none_is_refused(name):
    with pytest.raises(InputError, match=rf"data must be empty with task '{name}'.*got 'x.npz'"):
        load_task(name, MODELS, "x.npz")


def test_keras_download_needs_no_file(monkeypatch):
    import keras

    held = arrays("cifar10")
    train, test = ((held[f"x_{split}"], held[f"y_{split}"][:, None]) for split in ("train", "test"))
    monkeypatch.setattr(keras.datasets.cifar10, "load_data", lambda: (train, test))
    task = load_task("cifar10", MODELS)
    np.testing.assert_array_equal(task.train.y, held["y_train"])
    assert task.train.x.shape == (40, 32, 32, 3)


def test_failed_download_says_in_one_line_how_to_do_without(monkeypatch):
    import keras

    def fail():
        raise Exception("URL fetch failure on https://x:\n None -- unknown host")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", fail)
    with pytest.raises(
        InputError, match=r"task 'mnist': .*unknown host\); fetch it elsewhere and give --data"
    ) as caught:
        load_task("mnist", MODELS)
    assert "\n" not in str(caught.value)


def test_every_named_task_is_listed():
    assert set(named.NAMED) < set(TASKS)
    assert {*ARRAYS, "smm4h", "mind"} == set(named.NAMED)
    assert len(ARRAYS) == len(named._ALL)
