"""Laws of low-rank adapters: what a layer computes with one, what is trained, and what a copy has in their place."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from fedkd.base.errors import InputError
from fedkd.base.seeding import Purpose, generator
from fedkd.distill.learner import Learner
from fedkd.models import cnn, news, transformer
from fedkd.models.adapt import Lora, adapt
from fedkd.models.adapters import adapters_of
from fedkd.models.first_layers import hidden_layers
from fedkd.models.inspect import (
    build_model,
    frozen,
    get_weights,
    logits_model,
    model_spec,
    split_outputs,
    unfrozen,
    whole_weights,
)

LORA = Lora(2, 3.0)
BUILDERS = {
    "dense": lambda: dense(),
    "convolutions before poolings": lambda: cnn.teacher((8, 8, 1), 3, 4, 8),
    "transformer": lambda: transformer.student(5, 9, 3, 8),
    "titles in rows": lambda: news.student(2, 3, 4, 9, 8),
}


def dense():
    inputs = keras.Input((5,))
    x = keras.layers.Dense(6, activation="tanh", name="first")(inputs)
    return keras.Model(inputs, keras.layers.Dense(3, name="head")(x))


def adapted(builder, lora=LORA, seed=0):
    model = build_model(builder, 7)
    return adapt(model, hidden_layers(model), lora, generator(seed, Purpose.ADAPTERS, 1), "model.student_lora")


def drawn(model, rng):
    """Numbers in the place of all that is trained, so that no product is 0."""
    return [rng.normal(0, 0.3, array.shape).astype(np.float32) for array in get_weights(model)]


def inputs(model, rng, count=4):
    shape = (count, *model.inputs[0].shape[1:])
    whole = model.inputs[0].dtype.startswith("int")
    return rng.integers(0, 9, shape).astype(np.int32) if whole else rng.normal(size=shape).astype(np.float32)


def logits(model, weights, x):
    return np.asarray(Learner(model).logits([tf.constant(w) for w in weights], [], x))


def test_forward_and_gradient_of_an_adapted_dense_layer_by_hand():
    model, rng = adapted(dense), np.random.default_rng(0)
    w, bias = (np.asarray(weight) for weight in model.get_layer("first").weights)
    x, slope = inputs(model, rng), rng.normal(size=(4, 3)).astype(np.float32)
    values = [tf.constant(array) for array in drawn(model, rng)]
    head, shift, a, b = (np.asarray(value, np.float64) for value in values)
    learner = Learner(model)
    with tf.GradientTape() as tape:
        tape.watch(values)
        output = learner.call(values, learner.trainable(values), [], x, training=True)[0].logits
        total = tf.reduce_sum(output * slope)
    by_tape = tape.gradient(total, values)
    hidden = np.tanh(x @ (w + 1.5 * a @ b) + bias)
    np.testing.assert_allclose(output, hidden @ head + shift, rtol=0, atol=1e-5)
    back = (slope @ head.T) * (1 - hidden**2)  # by what the layer gives before its activation
    by_hand = [hidden.T @ slope, slope.sum(0), 1.5 * x.T @ back @ b.T, 1.5 * a.T @ x.T @ back]
    for ours, theirs in zip(by_tape, by_hand, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("builder", BUILDERS.values(), ids=BUILDERS)
def test_a_model_begins_as_what_it_was_without_bit_for_bit(builder):
    model, plain = adapted(builder), build_model(builder, 7)
    x = inputs(model, np.random.default_rng(0))
    np.testing.assert_array_equal(logits(model, get_weights(model), x), logits(plain, get_weights(plain), x))


@pytest.mark.parametrize("builder", BUILDERS.values(), ids=BUILDERS)
def test_a_copy_has_the_sums_in_its_kernels_and_no_adapters(builder):
    model, plain, rng = adapted(builder), build_model(builder, 7), np.random.default_rng(0)
    weights, x = drawn(model, rng), inputs(model, rng)
    copy = logits_model(model, weights)
    assert [w.shape for w in copy.weights] == [w.shape for w in plain.weights]
    np.testing.assert_allclose(copy(x), logits(model, weights, x), rtol=0, atol=1e-5)
    assert np.abs(copy(x) - split_outputs(plain(x)).logits).max() > 0.01  # the products count


def test_only_adapters_and_the_head_are_trained():
    model = adapted(BUILDERS["transformer"])
    found = {item.name: item for item in model_spec(model)}
    width, heads = 8, transformer.HEADS
    assert [name for name in found if not name.endswith("factor")] == ["logits/kernel", "logits/bias"]
    for i in (0, 1):
        for part in ("query", "key", "value", "attention_output"):  # heads side by side are one matrix, as in the paper
            begin = f"layer{i}_attention_{part}_kernel"
            assert found[f"{begin}_a/factor"].shape == (width, 2)
            assert found[f"{begin}_b/factor"].shape == (2, width)
        assert found[f"layer{i}_dense0_kernel_b/factor"].shape == (2, 2 * width)
    assert len(found) == 2 + 2 * 2 * 6
    assert not [name for name, item in found.items() if item.kernel and name != "logits/kernel"]  # no zeros in factors
    assert model.get_layer("layer0_attention").query_dense.kernel.shape == (width, heads, width // heads)
    assert sum(array.size for array in frozen(model)) + sum(item.size for item in found.values()) == sum(
        int(np.prod(weight.shape)) for weight in model.weights
    )


def test_the_first_matrix_is_the_seeds_and_the_second_zero():
    one, again, other = adapted(dense), adapted(dense), adapted(dense, seed=1)
    (a, b), (same, _), (another, _) = (get_weights(model)[-2:] for model in (one, again, other))
    np.testing.assert_array_equal(a, same)
    assert not np.array_equal(a, another)
    assert not b.any()
    assert 0.2 < np.abs(a).max() <= 5**-0.5


def test_with_ffa_only_the_second_matrix_is_trained():
    model = adapted(dense, LORA._replace(freeze_a=True))
    assert [tuple(weight.shape) for weight in unfrozen(model)] == [(6, 3), (3,), (2, 6)]
    assert (5, 2) in [array.shape for array in frozen(model)]
    rng = np.random.default_rng(0)
    updates, x = [drawn(model, rng) for _ in range(2)], inputs(model, rng)
    mean = [np.mean(pair, axis=0, dtype=np.float32) for pair in zip(*updates, strict=True)]
    kernels = [whole_weights(model, weights)[0] for weights in (*updates, mean)]
    np.testing.assert_allclose((kernels[0] + kernels[1]) / 2, kernels[2], rtol=0, atol=1e-6)
    np.testing.assert_allclose(logits_model(model, mean)(x), logits(model, mean, x), rtol=0, atol=1e-5)


def test_a_mean_of_both_matrices_is_not_that_of_the_products():
    """What FFA-LoRA is for."""
    model, rng = adapted(dense), np.random.default_rng(0)
    updates = [drawn(model, rng) for _ in range(2)]
    mean = [np.mean(pair, axis=0) for pair in zip(*updates, strict=True)]
    kernels = [whole_weights(model, weights)[0] for weights in (*updates, mean)]
    assert np.abs((kernels[0] + kernels[1]) / 2 - kernels[2]).max() > 0.01


def test_what_is_frozen_already_gets_no_adapter():
    def partly():
        model = BUILDERS["transformer"]()
        for layer in model.layers:
            layer.trainable = not layer.name.startswith("layer0")
        return model

    paths = [weight.path for weight in unfrozen(adapted(partly))]
    assert sum(path.endswith("factor") for path in paths) == 2 * 6
    assert not [path for path in paths if "layer0" in path]


def test_a_copy_freezes_what_had_no_adapter_alone():
    copy = logits_model(adapted(BUILDERS["transformer"]))
    still = {layer.name for layer in copy.layers if layer.weights and not layer.trainable}
    assert still == {"embedding", "last_norm", *(f"layer{i}_norm{j}" for i in (0, 1) for j in (0, 1))}
    assert adapters_of(copy) == ()


def test_a_rank_beyond_a_kernels_smaller_side_is_refused():
    with pytest.raises(InputError, match=r"student_lora must be at most 5, the smaller side of first/kernel .*got 6"):
        adapted(dense, Lora(6, 1.0))


def test_a_model_without_a_kernel_before_its_head_is_refused():
    def linear():
        entry = keras.Input((5,))
        return keras.Model(entry, keras.layers.Dense(3)(keras.layers.BatchNormalization()(entry)))

    with pytest.raises(InputError, match=r"student_lora must be 0 with .*none that isn't frozen"):
        adapted(linear)
