"""Laws of building a model."""

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from fedkd.models.inspect import build_model


def network():
    inputs = keras.Input((4,))
    hidden = keras.layers.Dropout(0.5)(keras.layers.Dense(8)(inputs))
    return keras.Model(inputs, keras.layers.Dense(3)(hidden))


@pytest.fixture
def drawing():
    """A thread that draws from Python's generator all the time, as Flower's heartbeat does now and then."""
    stop = threading.Event()

    def draw():
        while not stop.is_set():
            random.random()

    thread = threading.Thread(target=draw)
    thread.start()
    yield
    stop.set()
    thread.join()


def drawn(model):
    """Weights, and what the dropout layer draws."""
    dropped = model.layers[2](np.ones((2, 8), np.float32), training=True)
    return [*model.get_weights(), np.array(dropped)]


def test_the_seed_alone_decides_the_weights_whatever_other_threads_draw(drawing):
    def builder():
        random.random()  # so that the thread has had a turn
        return network()

    first, *others = (drawn(build_model(builder, 7)) for _ in range(5))
    for other in others:
        assert all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    assert not np.array_equal(first[0], drawn(build_model(builder, 8))[0])


def test_models_built_at_once_have_their_seeds_weights_and_leave_keras_as_it_was():
    """Else the generator that stands in for Keras' own is taken for it by the other thread, and stays."""
    from keras.src.random import seed_generator

    def builder():
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(4), keras.layers.Dense(2)])

    own = seed_generator.python_random
    expected = {seed: build_model(builder, seed).get_weights()[0] for seed in range(8)}
    with ThreadPoolExecutor(4) as pool:
        built = list(pool.map(lambda seed: (seed, build_model(builder, seed).get_weights()[0]), [*range(8)] * 10))
    assert seed_generator.python_random is own
    assert all(np.array_equal(weights, expected[seed]) for seed, weights in built)
