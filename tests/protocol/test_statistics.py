"""What layers measure stays what they may hold, whatever becomes of updates on their way."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers, ops

from fedkd.data.dataset import Dataset
from fedkd.exchange.blob import Header
from fedkd.exchange.codec import decode, encode
from fedkd.exchange.coding import Coding
from fedkd.exchange.compressors import Svd, TopK
from fedkd.models.inspect import model_spec
from fedkd.protocol.reference import Federation
from fedkd.protocol.resolve import resolve
from fedkd.tasks.task import Task

COLUMNS = 24


@keras.saving.register_keras_serializable(package="tests")
class RootMeanSquare(layers.Layer):
    """A layer of the user's own: divides by the root of a running mean of squares, one for each pair of columns."""

    def build(self, shape):
        size = (2, shape[-1] // 2)
        self.squares = self.add_weight(shape=size, initializer="ones", trainable=False, name="squares")

    def call(self, x, training=False):
        pairs = ops.reshape(x, (-1, *self.squares.shape))
        if training:
            self.squares.assign(0.8 * self.squares + 0.2 * ops.mean(ops.square(pairs), 0))
        return ops.reshape(pairs / ops.sqrt(self.squares), ops.shape(x))


def network(width):
    inputs = keras.Input((COLUMNS,))
    x = layers.BatchNormalization(momentum=0.8)(inputs)
    x = RootMeanSquare()(layers.Dense(width, activation="relu")(x))
    return keras.Model(inputs, layers.Dense(3)(x))


def task():
    """Columns of very different scale, some constant, as raw sensor data are."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 240).astype(np.int32)
    x = (rng.normal(size=(240, COLUMNS)) + 2 * np.eye(3, COLUMNS)[y]) * np.logspace(-3, 2, COLUMNS)
    x[:, 5] = 3.0
    x = x.astype(np.float32)
    return Task(
        "raw",
        tuple("abc"),
        Dataset(x[:180], y[:180]),
        Dataset(x[180:], y[180:]),
        lambda: network(16),
        lambda: network(8),
    )


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "fedkd_plus"},
        {"method": "fedkd_plus", "exchange.bits": 4, "exchange.rounding": "stochastic"},
        {"exchange.bits": 8, "exchange.up": "dense", "exchange.down": "dense"},
        {"exchange.up": "topk", "exchange.down": "topk", "exchange.density": 0.05, "exchange.feedback": True},
        {"exchange.up": "sketch", "exchange.down": "sketch", "exchange.momentum": 0.5},
        {"exchange.up": "powersgd", "exchange.down": "svd", "exchange.bits": 4, "exchange.feedback": True},
    ],
    ids=lambda settings: " ".join(map(str, settings.values())),
)
def test_variances_stay_variances_and_the_student_finite(settings):
    """Sent in few bits or in part, a variance of 1e-6 beside one of 1e4 went below zero, and all outputs were NaN."""
    given = {"task": "object:raw", "clients": 3, "rounds": 6, "train.epochs": 2, "edge.sparsity": 0.0, **settings}
    federation = Federation(resolve(given, lambda *_: task()))
    spec, test = federation.experiment.spec, federation.experiment.task.test
    for _ in range(6):
        federation.round(range(3))
        for item, array in zip(spec, federation.server.shared, strict=True):
            if item.name.endswith(("variance", "squares")):
                assert item.statistic
                assert array.min() >= 0
        for client in federation.clients.values():
            assert np.isfinite(federation.experiment.quality(client.base)["accuracy"])
    assert np.isfinite(federation.experiment.local().trainer.logits("student", federation.server.shared, test.x)).all()


@pytest.mark.parametrize("coding", [Coding(Svd(0.5), bits=2), Coding(TopK(0.01)), Coding(Svd(0.5))])
def test_statistics_are_sent_whole_and_all_else_in_few_bits(coding):
    spec, rng = model_spec(network(8)), np.random.default_rng(0)
    update = [rng.normal(size=item.shape).astype(np.float32) for item in spec]
    assert sum(item.statistic for item in spec) == 3  # mean, variance, squares
    got = decode(encode(update, spec, Header(1, "ab" * 8, "any"), coding), spec).tensors
    for item, wanted, found in zip(spec, update, got, strict=True):
        if item.statistic:
            np.testing.assert_array_equal(found, wanted)
    kernel = [item.name.endswith("kernel") for item in spec].index(True)
    assert not np.array_equal(got[kernel], update[kernel])
    # A model without statistics has the blob that it always had.
    plain = tuple(replace(item, statistic=False) for item in spec)
    assert b"whole" not in encode(update, plain, Header(1, "ab" * 8, "any"), coding)


def test_only_kernels_and_tables_are_pruned_whatever_else_has_two_axes():
    inputs = keras.Input((6,), dtype="int32")
    x = layers.Embedding(20, 8)(inputs)
    x = layers.MultiHeadAttention(2, 4)(x, x)
    x = layers.LayerNormalization(axis=(1, 2))(x)
    x = layers.PReLU()(layers.Conv1D(8, 3)(x))
    x = layers.SeparableConv1D(4, 2)(x)
    x = layers.Bidirectional(layers.GRU(6))(x)
    model = keras.Model(inputs, layers.Dense(3)(x))
    pruned = {item.name for item in model_spec(model) if item.kernel and item.leading > 0}
    others = {weight.path for weight in model.weights if len(weight.shape) > 1} - pruned
    assert all(name.endswith(("kernel", "embeddings")) for name in pruned)
    assert {name.rpartition("/")[2] for name in others} == {"bias", "gamma", "beta", "alpha"}


class Unnamed(layers.Layer):
    """Keras calls all that isn't named `variable`: what is trained may be pruned, what is measured not."""

    def build(self, shape):
        self.trained = self.add_weight(shape=(shape[-1], 4))
        self.measured = self.add_weight(shape=(2, 4), trainable=False)

    def call(self, x):
        return ops.matmul(x, self.trained) + ops.sum(self.measured, 0)


def test_of_weights_without_a_name_those_that_are_trained_are_kernels():
    inputs = keras.Input((6,))
    model = keras.Model(inputs, layers.Dense(3)(Unnamed()(inputs)))
    found = {item.shape: item.kernel for item in model_spec(model)}
    assert found == {(6, 4): True, (2, 4): False, (4, 3): True, (3,): False}
