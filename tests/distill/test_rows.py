"""Laws of training some rows of a table: the same bits as all of them, at what they cost."""

from functools import partial

import keras
import numpy as np
import pytest

from fedkd.config.sections import LossConfig, TrainConfig
from fedkd.data.dataset import Dataset
from fedkd.distill import rows
from fedkd.distill.adam import Adam
from fedkd.distill.compiled import Compiled
from fedkd.distill.keras_trainer import KerasTrainer
from fedkd.distill.optimizers import PureOptimizer, pure
from fedkd.models import transformer
from fedkd.objectives.classification import Classification

WORDS, STEPS = 400, 6


def trainer(optimizer="adam"):
    keras.utils.set_random_seed(0)
    models = {
        "teacher": transformer.teacher(STEPS, WORDS, 3, 8),
        "student": transformer.student(STEPS, WORDS, 3, 8),
    }
    train = TrainConfig(batch_size=4, epochs=2, optimizer=optimizer)
    return KerasTrainer(models, train, LossConfig(), Classification(("a", "b", "c")), 0)


def texts(seed, words=60):
    rng = np.random.default_rng(seed)
    chosen = rng.choice(WORDS, words, replace=False)
    return Dataset(rng.choice(chosen, (10, STEPS)).astype(np.int32), rng.integers(0, 3, 10, dtype=np.int32))


@pytest.fixture
def small_tables_count(monkeypatch):
    monkeypatch.setattr(rows, "_LARGE", 1)


def rounds(trained):
    """Three rounds on other texts each, so that rows with moments have none in the texts."""
    state = trained.initial_state()
    for seed in range(3):
        state, _ = trained.fit(state, texts(seed), np.random.default_rng(seed))
    return state


def test_rows_end_in_the_bits_of_whole_tables(small_tables_count, monkeypatch):
    found = rounds(trainer())
    monkeypatch.setattr(rows, "taken", lambda *_: [])
    expected = rounds(trainer())
    assert found.keys() == expected.keys()
    for group, arrays in expected.items():
        for a, b in zip(found[group], arrays, strict=True):
            assert (a.dtype, a.shape) == (b.dtype, b.shape)
            assert np.array_equal(np.atleast_1d(a).view(np.uint8), np.atleast_1d(b).view(np.uint8)), group


@pytest.mark.slow
def test_rows_are_those_of_the_texts_and_of_texts_before(small_tables_count):
    trained = trainer()
    first, second = texts(0), texts(1)
    state, _ = trained.fit(trained.initial_state(), first, np.random.default_rng(0))
    for each in rows.taken(state, rows.tables(trained.learners, trained._optimizers), [second.x]):
        assert set(each.rows) == {*first.x.ravel(), *second.x.ravel()}
        assert np.array_equal(each.where[each.rows], np.arange(len(each.rows)))
    assert len(rows.taken(state, rows.tables(trained.learners, trained._optimizers), [second.x])) == 2


def test_tables_that_are_small_or_mostly_in_use_are_trained_whole(monkeypatch):
    trained = trainer()
    state = trained.initial_state()
    assert rows.taken(state, rows.tables(trained.learners, trained._optimizers), [texts(0).x]) == []
    monkeypatch.setattr(rows, "_LARGE", 1)
    every = np.arange(WORDS // 2 + 1)
    assert rows.taken(state, rows.tables(trained.learners, trained._optimizers), [every]) == []


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_optimisers_that_move_other_rows_get_whole_tables(small_tables_count, optimizer):
    trained = trainer(optimizer)
    assert rows.tables(trained.learners, trained._optimizers) == []


def test_adam_takes_the_steps_of_keras_bit_for_bit():
    shapes, rng = [(6, 4), (4,), ()], np.random.default_rng(0)
    variables = [keras.Variable(rng.normal(size=shape).astype(np.float32)) for shape in shapes]
    own, theirs = pure(keras.optimizers.Adam(0.01), variables), PureOptimizer(keras.optimizers.Adam(0.01), variables)
    assert isinstance(own, Adam)
    ends = []
    for optimizer in (own, theirs):
        step, values, moments = Compiled(optimizer.step), [v.numpy() for v in variables], optimizer.initial()
        slopes = np.random.default_rng(1)
        for _ in range(5):
            gradients = [slopes.normal(size=shape).astype(np.float32) for shape in shapes]
            values, moments = step(0, moments, gradients, values, np.float32(0.7))
        ends.append([*values, *moments])
    for a, b in zip(*ends, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("option", [{"amsgrad": True}, {"clipnorm": 1.0}, {"weight_decay": 0.1}])
def test_adam_with_options_is_left_to_keras(option):
    make = partial(keras.optimizers.Adam, 0.1, **option)
    assert isinstance(pure(make(), [keras.Variable(np.ones(2, np.float32))]), PureOptimizer)


def test_constraints_are_left_to_keras():
    variable = keras.Variable(np.ones((2, 2), np.float32))
    variable.constraint = keras.constraints.MaxNorm(1.0)
    assert isinstance(pure(keras.optimizers.Adam(0.1), [variable]), PureOptimizer)
