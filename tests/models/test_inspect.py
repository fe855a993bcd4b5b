"""Laws of building a model."""

import random
import threading

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
