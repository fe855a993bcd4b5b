"""Laws of the sums that stand for examples."""

import keras
import numpy as np
import pytest
from keras import layers

from fedkd.base.errors import InputError
from fedkd.compress.awq import awq
from fedkd.compress.dense_kernels import dense_kernels
from fedkd.compress.drop_blocks import block_angles
from fedkd.compress.gptq import gptq
from fedkd.compress.moments import merged, moments
from fedkd.models import transformer
from fedkd.models.inspect import logits_model

IDS = np.random.default_rng(0).integers(0, 50, (150, 6)).astype(np.int32)


def text_model():
    keras.utils.set_random_seed(0)
    return logits_model(transformer.student(6, 50, 4, 32))


def chain():
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((32,)), layers.Dense(40, "relu", name="a"), layers.Dense(30, name="b")])


def test_moments_are_those_of_what_each_kernel_reads():
    model, x = chain(), np.random.default_rng(0).normal(size=(100, 32)).astype(np.float32)
    found = moments(model, x)
    inner = np.asarray(model.get_layer("a")(x), np.float64)
    assert list(found) == ["a", "b"]
    for name, read in (("a", x.astype(np.float64)), ("b", inner)):
        assert found[name].rows == 100
        np.testing.assert_allclose(found[name].second, read.T @ read, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(found[name].magnitude, np.abs(read).sum(axis=0), rtol=1e-5)


def test_moments_of_parts_add_up_to_those_of_the_whole():
    model = text_model()
    whole = moments(model, IDS)
    parts = merged(*(moments(model, part) for part in (IDS[:20], IDS[20:21], IDS[21:])))
    assert list(parts) == list(whole)
    for name, moment in whole.items():
        assert parts[name].rows == moment.rows
        np.testing.assert_allclose(parts[name].second, moment.second, rtol=1e-5, atol=1e-6 * moment.second.max())
        np.testing.assert_allclose(parts[name].magnitude, moment.magnitude, rtol=1e-5)


def test_kernels_inside_of_attention_have_moments_by_all_axes_that_they_sum_over():
    model = text_model()
    found = moments(model, IDS)
    assert {name.partition("/")[0] for name in found} >= {"layer0_attention", "layer1_attention", "layer1_dense1"}
    assert {kernel.name: kernel.inputs for kernel in dense_kernels(model)} == {
        name: len(moment.second) for name, moment in found.items()
    }
    assert len(found["layer0_attention/attention_output"].second) == 32


def test_padding_does_not_count():
    """Two steps of six are padding, whatever a text says there: the first layer reads the same of the others."""
    model, real = text_model(), np.zeros(IDS.shape, bool)
    real[:, :4] = True
    other = IDS.copy()
    other[:, 4:] = 7
    name = "layer0_attention/query"
    found, same = moments(model, IDS, real)[name], moments(model, other, real)[name]
    assert found.rows == 4 * len(IDS)
    np.testing.assert_array_equal(found.second, same.second)
    assert not np.array_equal(moments(model, IDS)[name].second, moments(model, other)[name].second)


def test_the_model_is_as_it_was_afterwards():
    model = chain()
    before = model.get_layer("a").call
    moments(model, np.zeros((2, 32), np.float32))
    assert model.get_layer("a").call == before


def test_the_same_examples_give_the_same_bytes():
    model = text_model()
    first, again = moments(model, IDS), moments(model, IDS)
    assert all(first[name].second.tobytes() == again[name].second.tobytes() for name in first)


def test_what_cannot_be_summed_up_is_refused():
    model = chain()
    with pytest.raises(InputError, match="x must have at least 1 row"):
        moments(model, np.zeros((0, 32), np.float32))
    with pytest.raises(InputError, match="what a reads must be finite"):
        moments(model, np.full((2, 32), np.nan, np.float32))
    small = keras.Sequential([keras.Input((8,)), layers.Dense(4)])
    with pytest.raises(InputError, match="must have a dense kernel of 1,024 numbers or more, got none"):
        moments(small, np.zeros((2, 8), np.float32))


@pytest.mark.parametrize("sums", [moments, block_angles])
def test_examples_and_steps_that_do_not_fit_are_refused(sums):
    model, x = text_model(), IDS[:2]
    for real, got in (
        (np.ones((2, 6), np.int64), r"int64 of shape \(2, 6\)"),
        (np.ones((2, 5), bool), r"bool of shape \(2, 5\)"),
        (np.ones(2, bool), r"bool of shape \(2,\)"),
        ([[True] * 6] * 2, "a list"),
    ):
        with pytest.raises(InputError, match=rf"real must be .* bool of shape \(2, 6\), got {got}"):
            sums(model, x, real)
    with pytest.raises(InputError, match="real must have at least 1 step that counts, got none"):
        sums(model, x, np.zeros((2, 6), bool))
    for wrong, got in (
        (x.tolist(), "a list"),
        (IDS[:2, :5], r"int32 of shape \(2, 5\)"),
        (x[0], r"int32 of shape \(6,\)"),
    ):
        with pytest.raises(InputError, match=rf"x must be an array \(n, 6\), as the model reads it, got {got}"):
            sums(model, wrong)


def test_a_model_of_two_inputs_is_refused():
    one, other = keras.Input((32,)), keras.Input((32,))
    model = keras.Model([one, other], layers.Dense(40)(one + other))
    with pytest.raises(InputError, match=r"must have 1 input .*, got 2"):
        moments(model, np.ones((2, 32), np.float32))


def test_kernels_that_are_not_plain_floats_are_refused():
    adapted, whole, x = chain(), chain(), np.ones((2, 32), np.float32)
    adapted.get_layer("a").enable_lora(2)
    with pytest.raises(InputError, match="a must have a plain kernel of floats, got Keras' own LoRA"):
        moments(adapted, x)
    with pytest.raises(InputError, match="a must have a plain kernel of floats, got Keras' own LoRA"):
        gptq(adapted, moments(chain(), x))
    whole.quantize("int8")
    with pytest.raises(InputError, match=r"a must have a plain kernel of floats, got one of int8"):
        moments(whole, x)


def test_a_kernel_that_is_never_called_is_refused():
    class Silent(layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.dense = layers.Dense(40, name="inner")

        def build(self, shape):
            self.dense.build(shape)

        def call(self, x):
            return x @ self.dense.kernel

    model = keras.Sequential([keras.Input((32,)), Silent(name="outer")])
    with pytest.raises(InputError, match="outer/inner wasn't"):
        moments(model, np.ones((2, 32), np.float32))


@pytest.mark.parametrize("method", [gptq, awq])
def test_a_layer_that_does_not_take_its_own_settings_is_refused(method):
    class Narrow(layers.Layer):
        def __init__(self):
            super().__init__(name="narrow")

        def call(self, x):
            return x * 2

    model = keras.Sequential([keras.Input((32,)), Narrow(), layers.Dense(40)])
    with pytest.raises(InputError, match=r"layer 'narrow' must be one that its settings make again; have Narrow"):
        method(model, moments(model, np.ones((2, 32), np.float32)))


def test_moments_of_different_models_are_not_merged():
    x = np.ones((2, 32), np.float32)
    with pytest.raises(InputError, match="of at least 1 set"):
        merged()
    with pytest.raises(InputError, match="of the same model, got kernels"):
        merged(moments(chain(), x), moments(text_model(), IDS))
    wider = keras.Sequential([keras.Input((64,)), layers.Dense(40, name="a"), layers.Dense(30, name="b")])
    with pytest.raises(InputError, match="of the same model, got kernels of 32 and 64 inputs"):
        merged(moments(chain(), x), moments(wider, np.ones((2, 64), np.float32)))
