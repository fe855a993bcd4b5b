"""Laws of the optimisers and the trainer."""

from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest

from fedkd.base import runtime
from fedkd.config.sections import LossConfig, TrainConfig
from fedkd.data.augment import shift_images
from fedkd.distill.batches import batches
from fedkd.distill.keras_trainer import KerasTrainer
from fedkd.models.inspect import build_model, get_weights
from fedkd.objectives.classification import Classification
from fedkd.objectives.objective import quality
from tests import tiny

CLASSES = Classification(("a", "b", "c"))
TRAIN = TrainConfig(epochs=2, batch_size=8, teacher_lr=3e-3, student_lr=3e-3)


def accuracy(trainer, role, weights, data):
    return quality(CLASSES, trainer.logits(role, weights, data.x), data.y)["accuracy"]


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def trainer():
    models = {
        "teacher": build_model(lambda: tiny.network(12), 1),
        "student": build_model(lambda: tiny.network(4), 2),
    }
    return KerasTrainer(models, TRAIN, LossConfig(), CLASSES, seed=3)


def same(a, b):
    return all(np.array_equal(x, y) for key in a for x, y in zip(a[key], b[key], strict=True))


def test_training_learns_both_models(trainer):
    state, data = trainer.initial_state(), tiny.examples(120, 0)
    history = []
    for round_ in range(8):
        state, losses = trainer.fit(state, data, rng(round_))
        history.append(losses)
    assert all(history[-1][role] < 0.6 * history[0][role] for role in ("teacher", "student"))
    test = tiny.examples(60, 1)
    assert accuracy(trainer, "teacher", state["teacher"], test) > 0.85
    assert accuracy(trainer, "student", state["student"], test) > 0.75


def test_same_state_and_seed_end_in_the_same_bits(trainer):
    results = [trainer.fit(trainer.initial_state(), tiny.examples(50, 0), rng(5))[0] for _ in range(2)]
    assert same(*results)


def test_training_leaves_the_given_state_alone(trainer):
    state = trainer.initial_state()
    before = {key: [a.copy() for a in arrays] for key, arrays in state.items()}
    trainer.fit(state, tiny.examples(30, 0), rng())
    assert same(before, state)


def test_one_fit_continues_another(trainer):
    """Moments are part of the state: two fits of two steps are one of four, given the same batches."""
    data = tiny.examples(16, 0)
    halfway, _ = trainer.fit(trainer.initial_state(), data, rng(1))
    assert float(halfway["student.moments"][0]) == 4
    after, _ = trainer.fit(halfway, data, rng(2))
    assert float(after["student.moments"][0]) == 8


def test_statistics_of_batch_normalisation_move(trainer):
    before = trainer.initial_state()["student"]
    after = trainer.fit(trainer.initial_state(), tiny.examples(30, 0), rng())[0]["student"]
    moved = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    assert all(moved)


def test_masked_weights_stay_zero(trainer):
    state = trainer.initial_state()
    kernel = np.ones(state["student"][0].shape, np.float32)
    kernel[0] = 0
    trainable = trainer.learners["student"].model.trainable_variables
    masks = [kernel, *(np.ones(v.shape, np.float32) for v in trainable[1:])]
    state["student"][0] = state["student"][0] * kernel
    after, _ = trainer.fit(state, tiny.examples(30, 0), rng(), masks={"student": masks})
    assert not after["student"][0][0].any()
    assert after["student"][0][1].all()


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_one_model_alone_takes_the_plain_gradient_steps_of_keras(role):
    """No distillation: a step of SGD on cross-entropy equals Keras' own train_on_batch."""
    inputs = keras.Input((6, 6, 1))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    data = tiny.examples(8, 0)
    train = TrainConfig(epochs=1, batch_size=8, optimizer="sgd", teacher_lr=0.1, student_lr=0.1)
    trainer = KerasTrainer({role: model}, train, LossConfig(), CLASSES, 0)
    after = trainer.fit(trainer.initial_state(), data, rng())[0][role]
    model.compile(keras.optimizers.SGD(0.1), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.train_on_batch(data.x, data.y)
    for ours, theirs in zip(after, get_weights(model), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_rate_scales_every_change():
    """One step of SGD: half the rate is half the change."""
    inputs = keras.Input((6, 6, 1))
    model = keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
    train = TrainConfig(epochs=1, batch_size=8, optimizer="sgd", student_lr=0.1)
    trainer, data = KerasTrainer({"student": model}, train, LossConfig(), CLASSES, 0), tiny.examples(8, 0)
    start = trainer.initial_state()["student"][0]
    full, half = (trainer.fit(trainer.initial_state(), data, rng(), rate)[0]["student"][0] for rate in (1.0, 0.5))
    np.testing.assert_allclose(half - start, (full - start) / 2, atol=1e-7)


def test_batches_hold_each_example_once_an_epoch_with_equal_shares():
    rows, shares = batches(11, 4, 3, rng())
    assert rows.shape == shares.shape == (9, 4)
    for epoch in range(3):
        used = rows[3 * epoch : 3 * epoch + 3][shares[3 * epoch : 3 * epoch + 3] > 0]
        assert sorted(used.tolist()) == list(range(11))
    np.testing.assert_allclose(shares.sum(1), 1.0, rtol=1e-6)
    assert shares[2].tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])


def test_evaluation_does_not_depend_on_how_many_examples_are_asked(trainer):
    weights, x = trainer.initial_state()["student"], tiny.examples(300, 0).x
    np.testing.assert_array_equal(
        trainer.logits("student", weights, x)[:10], trainer.logits("student", weights, x[:10])
    )


@pytest.mark.parametrize("policy", [pytest.param("mixed_float16", marks=pytest.mark.slow), "float64", "bfloat16"])
def test_any_dtype_policy_learns_and_is_held_in_float32(policy):
    with_policy = keras.dtype_policies.get(policy)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(with_policy)
    try:
        trainer = KerasTrainer({"student": build_model(lambda: tiny.network(8), 1)}, TRAIN, LossConfig(), CLASSES, 0)
        state, losses = trainer.initial_state(), []
        for round_ in range(6):
            state, loss = trainer.fit(state, tiny.examples(120, 0), rng(round_))
            losses.append(loss["student"])
        assert losses[-1] < 0.7 * losses[0]
        assert {array.dtype.name for array in state["student"]} == {"float32"}
        assert accuracy(trainer, "student", state["student"], tiny.examples(60, 1)) > 0.6
    finally:
        keras.config.set_dtype_policy(before)


def test_losses_of_the_model_itself_count():
    """A step of SGD at zero gradient of the cross-entropy: an L2 penalty of 1 shrinks the kernel by 2 η."""
    inputs = keras.Input((6, 6, 1))
    dense = keras.layers.Dense(3, kernel_regularizer=keras.regularizers.L2(1.0), use_bias=False)
    model = keras.Model(inputs, dense(keras.layers.Flatten()(inputs)))
    train = TrainConfig(epochs=1, batch_size=8, optimizer="sgd", student_lr=0.1)
    trainer, data = KerasTrainer({"student": model}, train, LossConfig(), CLASSES, 0), tiny.examples(8, 0)
    blank = type(data)(np.zeros_like(data.x), data.y)
    before = trainer.initial_state()
    after, _ = trainer.fit(before, blank, rng())
    np.testing.assert_allclose(after["student"][0], 0.8 * before["student"][0], atol=1e-6)


def test_logits_are_the_same_bits_on_any_number_of_threads(trainer):
    x = tiny.examples(700, 4).x
    weights = trainer.initial_state()["teacher"]
    np.testing.assert_array_equal(trainer.logits("teacher", weights, x), trainer.logits("teacher", weights, x, 3))


@pytest.mark.slow
def test_recurrent_model_trains_side_by_side_as_it_does_alone():
    """Loops inside a compiled function, traced on one thread and run inline on others."""
    inputs = keras.Input((6, 6, 1))
    rows = keras.layers.LSTM(5)(keras.layers.Reshape((6, 6))(inputs))
    trainer = KerasTrainer(
        {"student": keras.Model(inputs, keras.layers.Dense(3)(rows))}, TRAIN, LossConfig(), CLASSES, 0
    )
    data = tiny.examples(24, 0)

    def client(i):
        with runtime.inline_operations():
            after, _ = trainer.fit(trainer.initial_state(), data, rng(i))
            return after, accuracy(trainer, "student", after["student"], data)

    alone = [trainer.fit(trainer.initial_state(), data, rng(i))[0] for i in range(4)]
    with ThreadPoolExecutor(2) as pool:
        side_by_side = list(pool.map(client, range(4)))
    assert all(same(a, b) for a, (b, _) in zip(alone, side_by_side, strict=True))
    assert all(0 <= accuracy <= 1 for _, accuracy in side_by_side)


def test_batches_one_by_one_end_in_the_bits_of_unrolled_ones():
    """A process that trains once compiles one batch only, and must not end in another student for it."""
    models = {
        "teacher": build_model(lambda: tiny.network(12), 1),
        "student": build_model(lambda: tiny.network(4), 2),
    }
    trainer, data = (
        KerasTrainer(models, TRAIN, LossConfig(), CLASSES, seed=3, augment=shift_images),
        tiny.examples(50, 0),
    )
    unrolled, _ = trainer.fit(trainer.initial_state(), data, rng())
    trainer.unrolls = False
    one_by_one, _ = trainer.fit(trainer.initial_state(), data, rng())
    assert same(unrolled, one_by_one)
