"""Splits of one file are of one kind, one range and one layout, or are refused."""

import numpy as np
import pytest

from fedkd.base.errors import InputError
from fedkd.config.model import ModelConfig
from fedkd.tasks.npz import load

PICTURES = np.random.default_rng(0).integers(0, 256, (40, 8, 8)).astype(np.uint8)
LABELS = {"y_train": np.arange(30) % 2, "y_test": np.arange(10) % 2, "classes": np.array(["a", "b"])}


def saved(path, train, test, **others):
    np.savez(path, x_train=train, x_test=test, **{**LABELS, **others})
    return path


@pytest.mark.parametrize(
    "train, test, said",
    [
        (PICTURES[:30].astype(np.float32)[..., None], PICTURES[30:], "x_train is float32 and x_test uint8"),
        (PICTURES[:30], PICTURES[30:].astype(np.int64)[..., None], "x_train is uint8 and x_test int64"),
        (
            PICTURES[:30, ..., None].astype(np.float32),
            PICTURES[30:, ..., None].astype(np.float32) / 255,
            "x_test has values about 0.003\\d+ times as large as x_train's; scale both alike",
        ),
        (
            np.repeat(PICTURES[:30, None], 3, 1),
            np.repeat(PICTURES[30:, None], 3, 1),
            r"x_train of shape \(30, 3, 8, 8\) seems to have its channels first",
        ),
    ],
)
def test_splits_that_mean_different_things_are_refused_in_one_line(train, test, said, tmp_path):
    with pytest.raises(InputError, match=said) as caught:
        load(saved(tmp_path / "data.npz", train, test), ModelConfig())
    assert "\n" not in str(caught.value)


def test_a_feature_that_shifts_between_the_splits_of_a_table_does_no_harm(tmp_path):
    train, test = np.random.default_rng(0).normal(size=(2, 30, 5)).astype(np.float32)
    train[:, 1] = 0.0
    test[:, 2] *= 500
    assert load(saved(tmp_path / "data.npz", train, test[:10]), ModelConfig()).inputs is not None


@pytest.mark.parametrize("shape", [(30, 3, 8, 3), (30, 8, 8, 1), (30, 1, 4, 9), (30, 3, 4, 40)])
def test_low_pictures_are_not_taken_for_channels_first(shape, tmp_path):
    x = np.random.default_rng(0).random(shape).astype(np.float32)
    assert load(saved(tmp_path / "data.npz", x, x[:10]), ModelConfig()).train.x.shape == shape


def test_word_ids_of_another_vocabulary_are_refused_and_a_few_rare_ones_become_unknown(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.integers(2, 30_000, (30, 12))
    path = saved(tmp_path / "bert.npz", x, x[:10])
    with pytest.raises(InputError, match=r"0\.\d+ of the words in x_train have ids beyond the vocabulary of 4000"):
        load(path, ModelConfig())
    assert load(path, ModelConfig(vocabulary=30_000)).train.x.max() == x.max()
    rare = np.where(rng.random(x.shape) < 0.04, x, x % 3000)
    task = load(saved(tmp_path / "rare.npz", rare, rare[:10]), ModelConfig())
    assert task.train.x.max() < 4000
    assert (task.train.x[rare >= 4000] == 1).all()
