"""SCAFFOLD as algorithm 1 of its paper says, in plain numpy, against rounds of the real thing."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers

from fedkd.base.errors import InputError
from fedkd.config.settings import build
from fedkd.data.dataset import Dataset
from fedkd.exchange.codec import encode
from fedkd.objectives.regression import Regression
from fedkd.protocol.federation import follow, header_of, make_offer, new_client
from fedkd.protocol.reference import Federation
from fedkd.protocol.resolve import resolve
from fedkd.tasks.task import Task
from tests.protocol.test_federation import assert_identical

RATE, STEPS, CLIENTS = 0.05, 4, 3
SLOPES = ((3.0, -1.0), (-2.0, 0.5), (0.5, 4.0))  # of each client: its loss is a quadratic around them


def examples(count, seed):
    """Clients whose columns differ in size as their slopes do: none alone finds the slopes that suit all."""
    rng = np.random.default_rng(seed)
    owners = np.repeat(np.arange(CLIENTS), count)
    x = rng.normal(size=(len(owners), 2)) * np.array([[2.0, 0.5], [0.7, 1.5], [1.0, 1.0]])[owners]
    y = np.einsum("nc,nc->n", x, np.array(SLOPES)[owners])
    return Dataset(x.astype(np.float32), y[:, None].astype(np.float32), owners=owners)


def line():
    inputs = keras.Input((2,))
    return keras.Model(inputs, layers.Dense(1, use_bias=False)(inputs))


def task():
    return Task("quadratics", (), examples(20, 0), examples(5, 1), line, line, objective=Regression(("height",)))


SETTINGS = {
    "task": "object:quadratics",
    "method": "scaffold",
    "partition.kind": "natural",
    "train.teacher_lr": RATE,
    "train.epochs": STEPS,
    "train.batch_size": 100,
    "train.holdout": 0.0,
    "edge.sparsity": 0.0,
    "edge.calibration": 0,
    "edge.precisions": "none",
}


def federation(settings=None):
    return Federation(resolve(SETTINGS | {"rounds": 60} | (settings or {}), lambda *_: task()))


def gradient(w, data):
    return 2 * data.x.T.astype(float) @ (data.x @ w - data.y) / len(data)


def test_rounds_of_scaffold_are_what_the_algorithm_says():
    """With option II; the second round asks two of three clients, so c moves by a mean over all three."""
    found = federation()
    data = [found.experiment.client_data(i)[0] for i in range(CLIENTS)]
    x, c = found.server.shared[0].astype(float), np.zeros((2, 1))
    own = [np.zeros((2, 1)) for _ in range(CLIENTS)]
    for participants in ([0, 1, 2], [0, 2], [0, 1, 2]):
        found.round(participants)
        moved, changed = [], []
        for i in participants:
            y = x
            for _ in range(STEPS):
                y = y - RATE * (gradient(y, data[i]) - own[i] + c)
            after = own[i] - c + (x - y) / (STEPS * RATE)
            moved.append(y - x)
            changed.append(after - own[i])
            own[i] = after
        x, c = x + np.mean(moved, 0), c + np.sum(changed, 0) / CLIENTS
        model, control = found.server.shared
        np.testing.assert_allclose(model, x, atol=1e-4)
        np.testing.assert_allclose(control, c, atol=1e-4)
        for i in range(CLIENTS):
            np.testing.assert_allclose(found.clients[i].local["control.own"][0], own[i], atol=1e-4)


def best():
    data = task().train
    return np.linalg.lstsq(data.x.astype(float), data.y.astype(float), rcond=None)[0]


def test_clients_of_unlike_data_meet_at_the_best_model_of_all_where_fedavg_stays_beside_it():
    found = {}
    for method, settings in (("scaffold", {}), ("fedavg_teacher", {"train.optimizer": "sgd"})):
        run = federation(settings | {"method": method})
        for _ in range(60):
            run.round(range(CLIENTS))
        found[method] = float(np.abs(run.server.shared[0] - best()).max())
    assert found["scaffold"] < 1e-3
    assert found["fedavg_teacher"] > 0.05


def test_control_variates_are_counted_in_bytes_both_ways():
    """Of what is trained there is one more number for each; of BatchNormalization's statistics there is none."""
    settings = {"task": "tests.tiny:task", "clients": 3, "rounds": 3, "train.epochs": 1, "edge.sparsity": 0.0}
    sizes = []
    for method in ("scaffold", "fedavg_teacher"):
        run = Federation(resolve(settings | {"method": method}))
        for _ in range(2):
            run.round([0, 1, 2])
        header = header_of(2, run.server.digest, run.experiment)
        upload = encode(run.updates[0], run.experiment.spec, header, run.experiment.coding("up", 1.0))
        sizes.append((len(run.server.update), len(upload), len(run.dense)))
    trained = sum(item.size for item in run.experiment.spec if not item.statistic)
    for more, less in zip(*sizes, strict=True):
        assert 0 <= more - less - 4 * trained < 100


def test_a_client_that_lost_its_state_gets_the_control_variate_with_the_model():
    run = federation()
    for _ in range(2):
        run.round(range(CLIENTS))
    run.begin()
    offer = replace(make_offer(run.server, None, 0.9, run.dense), steps=())
    fresh = new_client(run.experiment.local(0))
    assert_identical(follow(fresh, offer, run.experiment), run.server.base)
    assert run.server.base[1].any()


ZEROS, ROUNDED = {"edge.sparsity": 0.5}, {"edge.qat": True}
SMALL = {"exchange.up": "svd", "exchange.down": "svd", "exchange.bits": 4, "exchange.feedback": True}


@pytest.mark.parametrize("settings", [ZEROS | SMALL, pytest.param(ROUNDED, marks=pytest.mark.slow)])
def test_both_sides_hold_the_same_bits_through_all_rounds_and_twice_the_same(settings):
    """Client 1 misses rounds; the last ones are of finishing, with zeros, or with another model."""
    given = {"task": "tests.tiny:task", "method": "scaffold", "clients": 3, "rounds": 2, "train.epochs": 1}
    ends = []
    for _ in range(2):
        run = Federation(resolve(given | {"edge.finish_rounds": 2} | settings))
        for participants in ([0, 1, 2], [0, 2], [0, 1, 2], [0, 1, 2]):
            run.round(participants)
            for i in participants:
                assert_identical(run.clients[i].base, run.server.base)
        ends.append(run)
    assert_identical(ends[0].server.shared, ends[1].server.shared)
    assert_identical(ends[0].clients[1].local["control.own"], ends[1].clients[1].local["control.own"])
    parts = run.now.parts(run.server.shared)
    assert len(parts["control"]) == len(parts["teacher"])
    for item, array in zip(run.now.parts(run.now.spec)["teacher"], parts["control"], strict=True):
        assert array.any() != item.statistic


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"train.optimizer": "adam"}, "train.optimizer must be sgd with train.control_variates"),
        ({"train.proximal": 0.1}, "train.proximal must be 0 with train.control_variates"),
        (
            {"exchange.shared": "none"},
            "train.control_variates must be false where no model, or more than one, is shared",
        ),
        ({"exchange.up": "sketch", "exchange.down": "sketch"}, "exchange.up must be another than sketch with"),
    ],
)
def test_control_variates_that_make_no_sense_are_refused_in_one_line(settings, said):
    with pytest.raises(InputError, match=said) as caught:
        build({"train.control_variates": True, "train.optimizer": "sgd"} | settings)
    assert "\n" not in str(caught.value)
