"""Laws of training a device model by the clients of a run."""

import keras
import numpy as np
import pytest
from keras import layers

from fedkd.base.tensors import digest
from fedkd.compress.constraints import keep_clusters
from fedkd.compress.qat import quantize_aware
from fedkd.protocol.resolve import resolve
from sims.edge.federated import by_clients


@pytest.fixture(scope="module")
def experiment():
    return resolve({"task": "tests.tiny:task", "clients": 3, "train.student_lr": 0.03})


def network():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 1))
    x = layers.ReLU()(layers.Conv2D(4, 3, padding="same")(inputs))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(layers.MaxPooling2D()(x))))


def accuracy(model, experiment):
    test = experiment.task.test
    return float(np.mean(model.predict(test.x, verbose=0).argmax(-1) == test.y))


@pytest.mark.slow
def test_clients_train_what_rounds_and_learn_its_ranges_alike_each_time(experiment):
    first, second = (quantize_aware(network()).model for _ in range(2))
    for model in (first, second):
        by_clients(experiment, seed=0)(model)
    assert accuracy(first, experiment) > 0.8
    assert digest(first.get_weights()) == digest(second.get_weights())


def test_clusters_stay_few_though_clients_know_nothing_of_them(experiment):
    model = network()
    keep_clusters(model, 3)
    before = accuracy(model, experiment)
    by_clients(experiment, seed=0)(model)
    assert accuracy(model, experiment) > before
    assert [len(np.unique(kernel)) <= 8 for kernel in model.get_weights() if kernel.ndim > 1] == [True, True]
