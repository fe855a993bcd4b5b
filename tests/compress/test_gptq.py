"""Laws of rounding that is made up for."""

import keras
import numpy as np
import pytest
from keras import layers

from fedkd.base.errors import InputError
from fedkd.compress.compensate import compensated, inverse_factor, output_error
from fedkd.compress.dense_kernels import dense_kernels
from fedkd.compress.gptq import gptq, gptq_rounded
from fedkd.compress.grid import rounded
from fedkd.compress.moments import Moment, moments
from fedkd.edge.convert import convert_here
from fedkd.edge.litert_internals import read_model, schema
from fedkd.models import transformer
from fedkd.models.inspect import logits_model
from tests.compress.activations import correlated, encoder, in_four, lost, moment, trained


def errors(matrix, held, damping=0.01):
    """What rounding to the nearest and GPTQ change in the outputs."""
    numbers, steps = rounded(matrix.T, 4)
    other, same = gptq_rounded(matrix, held, damping)
    np.testing.assert_array_equal(steps, same)
    return [output_error((each * steps[:, None]).T - matrix, held.second) for each in (numbers, other)]


def test_by_hand_the_second_weight_takes_over_what_the_first_lacks():
    """Of two inputs that go half together, H = [[2, 1], [1, 2]]: setting 3 to 2 is made up for by adding 1 * 1 / 2."""
    held = Moment(4, np.array([[2.0, 1.0], [1.0, 2.0]]), np.ones(2))
    factor = inverse_factor(held, damping=0)
    np.testing.assert_allclose(factor.T @ factor, np.array([[2.0, -1.0], [-1.0, 2.0]]) / 3)
    settled = compensated(np.array([[3.0, 5.0]]), factor, lambda i, left: left[:, i] - (i == 0))
    np.testing.assert_allclose(settled, [[2.0, 5.5]])


def test_what_is_made_up_for_is_what_least_squares_would():
    """Of six inputs three go: the others' weights are those that come closest to what all gave."""
    x = correlated(50, 6)
    rows = np.random.default_rng(1).normal(size=(4, 6))
    kept = compensated(rows, inverse_factor(moment(x), 0), lambda i, left: left[:, i] * (i > 2))
    expected = np.linalg.lstsq(x[:, 3:], x @ rows.T, rcond=None)[0].T
    np.testing.assert_allclose(kept[:, 3:], expected)
    assert not kept[:, :3].any()


def test_outputs_change_less_than_by_rounding_to_the_nearest():
    matrix = np.random.default_rng(1).normal(size=(48, 40)).astype(np.float32)
    nearest, made_up = errors(matrix, moment(correlated(200, 48)))
    assert made_up < nearest / 2
    model, x, _ = trained()
    kernel = np.asarray(model.get_layer("hidden").kernel)
    nearest, made_up = errors(kernel, moments(model, x)["hidden"])
    assert made_up < nearest / 2


def test_inputs_that_do_not_go_together_leave_nothing_to_make_up_for():
    matrix = np.random.default_rng(1).normal(size=(48, 40)).astype(np.float32)
    held = moment(np.diag(np.random.default_rng(2).uniform(0.1, 9, 48)))
    numbers, steps = gptq_rounded(matrix, held, damping=0)
    expected, same = rounded(matrix.T, 4)
    np.testing.assert_array_equal(numbers, expected)
    np.testing.assert_array_equal(steps, same)


def test_what_examples_never_show_is_rounded_to_the_nearest():
    x = correlated(200, 48)
    x[:, [0, 7, 47]] = 0
    matrix = np.random.default_rng(1).normal(size=(48, 40)).astype(np.float32)
    numbers, _ = gptq_rounded(matrix, moment(x))
    np.testing.assert_array_equal(numbers[:, [0, 7, 47]], rounded(matrix.T, 4)[0][:, [0, 7, 47]])


def test_zeros_stay_zeros():
    matrix = np.random.default_rng(1).normal(size=(48, 40)).astype(np.float32)
    gone = np.random.default_rng(2).random(matrix.shape) < 0.5
    numbers, _ = gptq_rounded(np.where(gone, 0, matrix), moment(correlated(200, 48)))
    assert not numbers.T[gone].any()
    assert numbers.T[~gone].any()


def test_fewer_examples_than_inputs_take_damping():
    matrix, held = np.random.default_rng(1).normal(size=(48, 40)).astype(np.float32), moment(correlated(10, 48))
    nearest, made_up = errors(matrix, held)
    assert made_up < nearest / 2
    with pytest.raises(InputError, match="moments of 10 rows don't tell 48 inputs apart with damping 0; take more"):
        gptq_rounded(matrix, held, damping=0)
    for wrong in (-1, "a", None):
        with pytest.raises(InputError, match=rf"damping must be 0 or more .*, got {wrong}"):
            gptq_rounded(matrix, held, damping=wrong)


def test_a_trained_model_answers_more_as_it_did_on_examples_that_nobody_showed():
    model, x, unseen = trained()
    before = model.get_weights()
    found = gptq(model, moments(model, x))
    assert lost(found, model, unseen) < lost(in_four(model), model, unseen) / 1.5
    for now, was in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, was)
    np.testing.assert_array_equal(found.get_layer("head").kernel, model.get_layer("head").kernel)


def test_an_encoder_as_bert_is_answers_more_as_it_did():
    ids = np.random.default_rng(0).integers(1, 100, (200, 6)).astype(np.int32)
    model = encoder()
    found = gptq(model, moments(model, ids[:150]))
    assert lost(found, model, ids[150:]) < lost(in_four(model), model, ids[150:]) / 1.5


@pytest.mark.slow
def test_the_file_holds_the_integers_that_were_chosen(tmp_path):
    ids = np.random.default_rng(0).integers(1, 200, (100, 6)).astype(np.int32)
    keras.utils.set_random_seed(0)
    model = logits_model(transformer.student(6, 200, 4, 48))
    held = moments(model, ids)
    gptq(model, held).save(tmp_path / "model.keras")
    np.save(tmp_path / "calibration.npy", ids)
    (done,) = convert_here(tmp_path / "model.keras", tmp_path, tmp_path / "m", ["int4"])
    assert done.error is None
    kernels = four_bits(done.path)
    assert len(kernels) == len(held) == 12
    for kernel in dense_kernels(model):
        chosen, _ = gptq_rounded(kernel.matrix(), held[kernel.name])
        assert any(each.shape == chosen.shape and np.array_equal(each, chosen) for each in kernels), kernel.name


def four_bits(path):
    """Integers of the dense kernels of a file, int8 (outputs, inputs) each."""
    model = read_model(path)
    found = []
    for tensor in model.subgraphs[0].tensors:
        if tensor.type == schema().TensorType.INT4 and b"embedding" not in tensor.name:
            pairs = np.asarray(model.buffers[tensor.buffer].data, np.uint8).view(np.int8)
            low, high = (pairs << 4) >> 4, pairs >> 4
            found.append(np.stack([low, high], axis=1).reshape(tensor.shape))
    return found


def test_the_same_moments_give_the_same_bytes():
    matrix, held = np.random.default_rng(1).normal(size=(48, 40)).astype(np.float32), moment(correlated(90, 48))
    (first, steps), (again, same) = gptq_rounded(matrix, held), gptq_rounded(matrix, held)
    assert (first.tobytes(), steps.tobytes()) == (again.tobytes(), same.tobytes())


def test_what_cannot_be_rounded_is_refused():
    model = keras.Sequential([keras.Input((32,)), layers.Dense(40, name="a")])
    shown = moments(model, np.ones((3, 32), np.float32))
    other = keras.Sequential([keras.Input((32,)), layers.Dense(40, name="b")])
    with pytest.raises(InputError, match="moments must be of this model, got none of b"):
        gptq(other, shown)
    wider = keras.Sequential([keras.Input((64,)), layers.Dense(40, name="a")])
    with pytest.raises(InputError, match="moments of a must be of 64 inputs, got 32"):
        gptq(wider, shown)
    with pytest.raises(InputError, match="moments of a must be finite"):
        gptq(model, {"a": Moment(1, np.full((32, 32), np.nan), np.ones(32))})
    model.get_layer("a").kernel.assign(np.full((32, 40), np.nan))
    with pytest.raises(InputError, match="a must be finite, got NaN or infinity"):
        gptq(model, shown)
    with pytest.raises(InputError, match="must have a dense kernel of 1,024 numbers or more"):
        gptq(keras.Sequential([keras.Input((8,)), layers.Dense(4)]), shown)
