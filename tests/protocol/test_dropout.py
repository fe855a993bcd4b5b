"""Laws of federated dropout: a round is one of the smaller model, and both sides know it without a word."""

import keras
import numpy as np
import pytest

from fedkd.base.errors import InputError
from fedkd.base.tensors import subtract, weighted_mean
from fedkd.compress.remove_channels import remove_channels
from fedkd.config.settings import build
from fedkd.models.inspect import logits_model
from fedkd.protocol.finishing import check
from fedkd.protocol.reference import Federation
from fedkd.protocol.resolve import resolve
from tests.protocol.test_federation import assert_identical
from tests.protocol.test_oracle import RATE, STEPS

ORACLE = {
    "task": "tests.protocol.test_oracle:task",
    "method": "feddropout",
    "exchange.units": 0.5,
    "clients": 1,
    "rounds": 3,
    "train.optimizer": "sgd",
    "train.teacher_lr": RATE,
    "train.batch_size": 100,
    "train.epochs": STEPS,
    "train.holdout": 0.0,
}
TINY = {"task": "tests.tiny:task", "method": "feddropout", "clients": 3, "rounds": 4, "train.epochs": 1}


def descended(model, x, y):
    """Full-batch gradient descent by Keras, on the smaller model as it is."""
    model.compile(keras.optimizers.SGD(RATE), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for _ in range(STEPS):
        model.train_on_batch(x, y)
    return model.get_weights()


def test_a_round_is_one_of_the_smaller_model_and_leaves_all_else_as_it_was():
    run = Federation(resolve(ORACLE))
    experiment, drawn = run.experiment, []
    for round_ in (1, 2):
        before, part = run.server.shared, experiment.sub_model(round_)
        smaller = remove_channels(logits_model(experiment.shared_model, before), part.gone)
        data, _ = experiment.client_data(0)
        expected = descended(smaller, data.x, data.y)
        run.round([0])
        for got, wanted in zip(part.taken(run.server.shared), expected, strict=True):
            np.testing.assert_allclose(got, wanted, atol=1e-5)
        for old, new, mask in zip(before, run.server.shared, part.masks(experiment.spec), strict=True):
            np.testing.assert_array_equal(new[mask == 0], old[mask == 0])
        drawn.append(set(part.gone))
    assert drawn[0] != drawn[1]
    assert [len(each) for each in drawn] == [5, 5]  # of 9, four stay


@pytest.mark.parametrize("codec", [{}, {"exchange.up": "svd", "exchange.down": "topk", "exchange.feedback": True}])
def test_both_sides_hold_the_same_bits_and_twice_the_same(codec):
    """Client 1 misses rounds; the last ones are of finishing, in which all units are trained."""
    ends = []
    for _ in range(2):
        run = Federation(resolve(TINY | codec | {"edge.sparsity": 0.5, "edge.finish_rounds": 2}))
        for participants in ([0, 1, 2], [0, 2], [0, 2], [0, 1, 2], [0, 1, 2], [0, 1, 2]):
            run.round(participants)
            for i in participants:
                assert_identical(run.clients[i].base, run.server.base)
        ends.append(run.server.shared)
    assert_identical(*ends)
    assert run.experiment.sub_model(4)
    assert run.experiment.sub_model(5) is None


def test_only_what_is_left_is_sent():
    """Of 12 filters 9, and of the dense layer behind them as many rows: three quarters of either kernel."""
    run, whole = (Federation(resolve(TINY | {"method": m, "rounds": 1})) for m in ("feddropout", "fedavg_teacher"))
    for each in (run, whole):
        each.round([0, 1, 2])
    left = sum(item.size for item in run.experiment.sub_model(1).spec(run.experiment.spec))
    size = sum(item.size for item in run.experiment.spec)
    assert left == size - 3 * (9 + 4 + 9 * 3)
    assert abs(len(whole.server.update) - len(run.server.update) - 4 * (size - left)) < 50


def test_what_a_codec_leaves_out_is_sent_later_also_of_units_that_weren_t_there():
    codec = {"exchange.up": "topk", "exchange.down": "topk", "exchange.density": 0.1, "exchange.feedback": True}
    run = Federation(resolve(TINY | codec))
    initial, means = run.server.shared, []
    for _ in range(3):
        run.round([0, 1, 2])
        means.append(weighted_mean(run.updates, run.weights))
    moved = subtract(run.server.shared, initial)
    for m, r, total in zip(moved, run.server.transforms["residual"], zip(*means, strict=True), strict=True):
        np.testing.assert_allclose(m + r, np.sum(total, 0), atol=1e-5)


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"exchange.units": 0.0}, r"exchange.units must be in \(0, 1\]"),
        ({"train.models": "both"}, "exchange.units must be 1 where the shared model isn't trained alone"),
        ({"exchange.up": "powersgd"}, "exchange.units must be 1 with powersgd, which needs the whole update"),
        ({"exchange.up": "sketch", "exchange.down": "sketch"}, "exchange.units must be 1 with sketch"),
        (
            {"train.control_variates": True, "train.optimizer": "sgd"},
            "exchange.units must be 1 with train.control_variates, which are means over all rounds",
        ),
    ],
)
def test_sub_models_that_make_no_sense_are_refused_in_one_line(settings, said):
    with pytest.raises(InputError, match=said) as caught:
        build({"exchange.units": 0.5, "train.models": "student"} | settings)
    assert "\n" not in str(caught.value)


def test_a_model_without_units_to_spare_is_refused_before_the_first_round():
    settings = {"task": "tests.protocol.test_dropout:logistic", "method": "feddropout", "clients": 2}
    with pytest.raises(InputError, match=r"exchange.units must be 1 with the teacher of task .* has units that can be"):
        check(resolve(settings))


def logistic():
    from dataclasses import replace

    from tests.tiny import task

    def model():
        inputs = keras.Input((6, 6, 1))
        return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))

    return replace(task(), teacher=model)
