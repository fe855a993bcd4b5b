"""Models, examples and roundings that tests of methods which look at activations have in common."""

from pathlib import Path

import keras
import numpy as np
from keras import layers
from sklearn.datasets import load_digits

from fedkd.base.encoder import Encoder
from fedkd.compress.dense_kernels import copied, dense_kernels
from fedkd.compress.grid import rounded
from fedkd.compress.moments import Moment
from fedkd.models import transformer
from fedkd.models.inspect import logits_model


def correlated(rows, inputs, seed=0):
    """Vectors in which each number is like its neighbours."""
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, inputs)) @ (np.eye(inputs) + rng.normal(0, 0.5, (inputs, inputs)))


def encoder():
    """Two layers as BERT has them, of which it gives the logits alone."""
    keras.utils.set_random_seed(0)
    config = Encoder(Path(), None, 2, 48, 2, 96, "gelu", 1e-12, 6, 100, 0, 0, 2)
    return logits_model(transformer.encoder_network(config, 2, 6, 4))


def moment(x):
    x = np.asarray(x, np.float64)
    return Moment(len(x), x.T @ x, np.abs(x).sum(axis=0))


def trained():
    """Two dense layers that know digits, and pixels of others; some pixels are always 0."""
    digits = load_digits()
    x, y = (digits.data / 16).astype(np.float32), digits.target
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((64,)), layers.Dense(64, "relu", name="hidden"), layers.Dense(10, name="head")]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.003), loss)
    model.fit(x[:1200], y[:1200], batch_size=32, epochs=5, verbose=0)
    return model, x[:1200], x[1200:]


def in_four(model):
    """The model as the precision int4 has it, in floats: each dense kernel rounded to the nearest."""
    found = copied(model)
    for kernel in dense_kernels(found):
        numbers, steps = rounded(kernel.matrix().T, 4)
        kernel.assign((numbers * steps[:, None]).T)
    return found


def lost(model, whole, x):
    """Squares of what a model's outputs differ from the whole one's."""
    return float(np.square(np.asarray(model(x)) - np.asarray(whole(x))).sum())
