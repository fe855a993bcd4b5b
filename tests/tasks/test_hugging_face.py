"""Laws of Hugging Face's data sets, on small ones saved to disk; most need the extra `datasets`."""

import sys

import numpy as np
import pytest

from fedkd.base.errors import InputError
from fedkd.config.model import ModelConfig
from fedkd.config.settings import build
from fedkd.protocol.resolve import resolve
from fedkd.results.run_folder import run_path
from fedkd.tasks.registry import load_task

MODELS = ModelConfig()


@pytest.fixture
def datasets():
    return pytest.importorskip("datasets", reason="needs the extra `datasets`")


def save(datasets, folder, features=None, **splits):
    """Write splits, each given as its columns; returns the task's name."""
    made = {
        split: datasets.Dataset.from_dict(columns, features and datasets.Features(features))
        for split, columns in splits.items()
    }
    datasets.DatasetDict(made).save_to_disk(folder)
    return f"hf:{folder}"


def texts(count=20):
    return {
        "text": [f"word{i % 4} is here" for i in range(count)],
        "label": [("no", "yes")[i % 2] for i in range(count)],
    }


def test_images_and_named_classes_are_found_by_type(datasets, tmp_path):
    pictures = [np.full((6, 5), 10 * i, np.uint8) for i in range(8)]
    columns = {"id": [f"picture {i}" for i in range(8)], "scan": pictures, "animal": [0, 1] * 4}
    features = {
        "id": datasets.Value("string"),
        "scan": datasets.Image(),
        "animal": datasets.ClassLabel(names=["cat", "dog"]),
    }
    task = load_task(save(datasets, tmp_path / "x", features, train=columns, test=columns), MODELS)
    assert task.classes == ("cat", "dog")
    assert task.train.x.shape == (8, 6, 5, 1)
    np.testing.assert_array_equal(task.train.x[3], np.full((6, 5, 1), np.float32(30) / np.float32(255)))
    assert task.test.y.tolist() == [0, 1] * 4


def test_texts_become_ids_of_the_training_words_alone(datasets, tmp_path):
    """Of the training texts "a b", "a c" the ids are a 2, b 3, c 4; "new" of the test text is unknown."""
    train = {"text": ["a b", "a c"], "label": ["no", "yes"]}
    name = save(datasets, tmp_path / "x", train=train, test={"text": ["c new a"], "label": ["yes"]})
    task = load_task(name, MODELS)
    assert task.classes == ("no", "yes")
    assert task.train.x.tolist() == [[2, 3], [2, 4]]
    assert task.test.x.tolist() == [[4, 1]]
    assert task.test.y.tolist() == [1]


def test_arrays_of_one_shape_are_windows(datasets, tmp_path):
    columns = {"signal": np.zeros((6, 16, 3), np.float32).tolist(), "label": [0, 1, 2] * 2}
    features = {"signal": datasets.Array2D((16, 3), "float32"), "label": datasets.Value("int64")}
    task = load_task(save(datasets, tmp_path / "x", features, train=columns, validation=columns), MODELS)
    assert task.train.x.shape == (6, 16, 3)
    assert task.classes == ("0", "1", "2")


def test_without_a_test_split_a_fifth_of_each_class_is_cut_off(datasets, tmp_path):
    task = load_task(save(datasets, tmp_path / "x", train=texts()), MODELS)
    assert np.bincount(task.train.y).tolist() == [8, 8]
    assert np.bincount(task.test.y).tolist() == [2, 2]


def test_columns_can_be_named_after_the_folder(datasets, tmp_path):
    columns = {**texts(), "question": ["who ?"] * 20, "coarse": [0, 0, 1, 1] * 5}
    name = save(datasets, tmp_path / "x", train=columns)
    task = load_task(f"{name}#coarse,question", MODELS)
    assert task.classes == ("0", "1")
    assert np.unique(task.train.x).tolist() == [2, 3]
    assert str(run_path("", build({"task": f"{name}#coarse"}))) == "runs/x-fedkd-0"


def test_flowers_partitioners_deal_it(datasets, tmp_path):
    pytest.importorskip("flwr_datasets", reason="needs the extra `datasets`")
    name = save(datasets, tmp_path / "x", train=texts(60))
    experiment = resolve({"task": name, "clients": 3, "partition.minimum": 2})
    assert experiment.config.partition.library == "flwr_datasets"
    held = np.concatenate([*experiment.rows, experiment.calibration])
    np.testing.assert_array_equal(np.sort(held), np.arange(48))


@pytest.mark.parametrize(
    "columns, after, words",
    [
        ({"text": ["a", "b"]}, "", "has 0 columns that may be the label; name them, hf:NAME#LABEL,INPUT, of: text"),
        ({"a": ["a", "b"], "b": ["c", "d"], "label": [0, 1]}, "", "has 2 columns that may be the input"),
        ({"text": ["a", "b"], "label": [0, 1]}, "#kind", "has no column 'kind'"),
        ({"text": ["a", "b"], "label": [0, 1]}, "", "has no split 'test', and none can be cut off"),
    ],
)
def test_columns_that_do_not_suit_are_named_in_one_line(datasets, tmp_path, columns, after, words):
    with pytest.raises(InputError) as caught:
        load_task(save(datasets, tmp_path / "x", train=columns) + after, MODELS)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_and_sizes_unknown_to_the_training_split_are_refused(datasets, tmp_path):
    name = save(datasets, tmp_path / "x", train=texts(), test={"text": ["a"], "label": ["maybe"]})
    with pytest.raises(InputError, match="column 'label' holds maybe"):
        load_task(name, MODELS)
    columns = {"image": [np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8)], "label": [0, 1]}
    features = {"image": datasets.Image(), "label": datasets.Value("int64")}
    with pytest.raises(InputError, match="images must all have one size, got 2 sizes"):
        load_task(save(datasets, tmp_path / "y", features, train=columns, test=columns), MODELS)


def test_folder_without_a_data_set_is_named(datasets, tmp_path):
    with pytest.raises(InputError, match=rf"task 'hf:{tmp_path}' can't be loaded: "):
        load_task(f"hf:{tmp_path}", MODELS)


def test_missing_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match=r"task 'hf:imdb' needs .*pip install 'fedkd\[datasets\]'"):
        load_task("hf:imdb", MODELS)


class Table:
    """A split with just what is read of one, so that no extra is needed."""

    def __init__(self, kinds, columns):
        self.features = {name: type(kind, (), {})() for name, kind in kinds.items()}
        self.columns = columns

    def __len__(self):
        return len(next(iter(self.columns.values())))

    def __getitem__(self, column):
        return self.columns[column]


@pytest.mark.parametrize(
    "kind, label, pictures, words",
    [
        ("List", [[0], [1]], ["", ""], "column 'label' must hold one class an example, got a List"),
        ("Value", [0, 1], [None, None], "column 'image' has no image in row 0"),
        ("Value", [], [], "the training split has no examples"),
    ],
)
def test_lists_of_labels_and_missing_images_are_refused_in_one_line(monkeypatch, kind, label, pictures, words):
    made = Table({"image": "Image", "label": kind}, {"image": pictures, "label": label})
    monkeypatch.setattr("fedkd.tasks.hugging_face._read", lambda *_: {"train": made, "test": made})
    with pytest.raises(InputError) as caught:
        load_task("hf:mine", MODELS)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
