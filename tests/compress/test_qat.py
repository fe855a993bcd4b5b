"""Laws of quantization-aware training: what a model learns of int8 is what its file does."""

import contextlib

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from fedkd.compress.constraints import keep_clusters, kernels
from fedkd.compress.fake_quant import ActivationRange, QuantConv1D, rounded_kernel
from fedkd.compress.fold import folded
from fedkd.compress.qat import learned_scales, quantize_aware
from fedkd.edge.convert import convert, convert_here
from fedkd.edge.runtime import describe, predict


def block(x, filters, kernel=3, conv=layers.Conv2D):
    x = conv(filters, kernel, padding="same", use_bias=False)(x)
    return layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))


def cnn():
    x = inputs = keras.Input((8, 8, 1))
    for filters in (8, 16):
        x = layers.MaxPooling2D()(block(x, filters))
    return keras.Model(inputs, layers.Dense(10)(layers.Flatten()(x)))


def depthwise():
    x = inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, use_bias=False)(x)
    x = layers.ReLU(max_value=6)(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.AveragePooling2D(2)(block(x, 16, 1))
    x = layers.SeparableConv2D(32, 3, padding="same", activation="relu")(x)
    x = layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, layers.Dense(10)(layers.Dropout(0.1)(x)))


def residual():
    inputs = keras.Input((8, 8, 1))
    x = block(inputs, 8)
    for _ in range(2):
        y = layers.Conv2D(8, 3, padding="same")(block(x, 8))
        x = layers.ReLU()(layers.Add()([x, layers.BatchNormalization(momentum=0.9)(y)]))
    y = block(x, 8, 1)
    x = layers.Concatenate()([layers.ReLU()(x + y), block(y, 4)])
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def temporal():
    x = inputs = keras.Input((8, 8))
    for filters in (16, 32):
        x = layers.MaxPooling1D(2)(block(x, filters, conv=layers.Conv1D))
    return keras.Model(inputs, layers.Dense(10)(layers.Dense(16, activation="relu")(layers.Flatten()(x))))


SLOW = pytest.mark.slow


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.images / 16).astype(np.float32), data.target


def trained(model, x, y, epochs=8):
    model.compile(keras.optimizers.Adam(0.003), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=0)
    return model


def ranges(model):
    return [layer for layer in model.layers if isinstance(layer, ActivationRange)]


@pytest.mark.parametrize("make", [cnn, *(pytest.param(m, marks=SLOW) for m in (depthwise, residual, temporal))])
def test_the_file_is_the_model_even_if_calibrated_on_other_data(make, digits, tmp_path):
    """No float tensor is left, each learned scale is in the file, and both models choose the same class."""
    keras.utils.set_random_seed(0)
    plain = make()
    x = digits[0] if len(plain.input_shape) == 3 else digits[0][..., None]
    aware, skipped = quantize_aware(plain)
    assert not skipped
    trained(aware, x, digits[1]).save(tmp_path / "aware.keras")
    (done,) = convert(tmp_path / "aware.keras", 3 * x[:20], tmp_path, ["int8"], modules=["fedkd.compress.fake_quant"])
    assert done.error is None
    assert describe(done.path)["float_tensors"] == 0
    held = np.array([t["quantization"] for t in Interpreter(str(done.path)).get_tensor_details()])
    learned = learned_scales(aware)
    assert len(learned) == len(ranges(aware))
    for name, pair in learned.items():
        assert np.abs(held - pair).max(1).min() < 1e-6, name
    expected = aware.predict(x, verbose=0).argmax(1)
    assert np.mean(expected == digits[1]) > 0.6
    assert np.mean(predict(done.path, x).argmax(1) == expected) >= 0.995


def softmax_end():
    x = inputs = keras.Input((8, 8))
    x = layers.Conv1D(8, 3, padding="causal", activation="tanh")(x)
    x = layers.AveragePooling1D(2)(layers.Conv1D(8, 3, activation="relu")(x))
    return keras.Model(inputs, layers.Dense(10, activation="softmax")(layers.Flatten()(x)))


def words():
    x = inputs = keras.Input((8,), dtype="int32")
    x = layers.Conv1D(8, 3, activation="relu")(layers.Embedding(50, 8)(x))
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))


def dense_norms(dropout=0.1):
    x = inputs = keras.Input((16,))
    for options in ({}, {"use_bias": False}, {"activation": "linear"}):
        x = layers.BatchNormalization(momentum=0.5, scale=bool(options))(layers.Dense(8, **options)(x))
        x = layers.Dropout(dropout)(layers.ReLU()(x))
    return keras.Model(inputs, layers.Dense(4)(x))


def dense_norm_of_steps():
    x = inputs = keras.Input((6, 4))
    x = layers.BatchNormalization(momentum=0.5)(layers.Dense(5)(x))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def ceilings():
    """Some cut, some never do."""
    x = inputs = keras.Input((8, 8, 1))
    x = layers.ReLU(max_value=0.5)(layers.BatchNormalization(momentum=0.5)(layers.Conv2D(4, 3)(x)))
    x = layers.ReLU(max_value=20)(layers.Conv2D(4, 3)(x))
    x = layers.ReLU(max_value=1.0)(layers.Add()([x, layers.Conv2D(4, 1)(x)]))
    return keras.Model(inputs, layers.Dense(3)(layers.ReLU(max_value=2.0)(layers.Flatten()(x))))


def augmented():
    x = inputs = keras.Input((8, 8, 1))
    for layer in (
        layers.RandomFlip(),
        layers.RandomRotation(0.1),
        layers.RandomZoom(0.2),
        layers.RandomTranslation(0.1, 0.1),
    ):
        x = layer(x)
    x = layers.GaussianDropout(0.1)(layers.Conv2D(4, 3, activation="relu")(layers.RandomContrast(0.2)(x)))
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(x)))


def int8(model, rows, folder, precision="int8"):
    """Convert in this process; a child would take seconds to start."""
    folder.mkdir()
    model.save(folder / "model.keras")
    np.save(folder / "calibration.npy", rows)
    (done,) = convert_here(folder / "model.keras", folder, folder / "m", [precision])
    assert done.error is None
    return done.path


@pytest.mark.parametrize(
    "make",
    [
        *(pytest.param(m, marks=SLOW) for m in (cnn, depthwise, residual, temporal, softmax_end, words, augmented)),
        *(pytest.param(m, marks=SLOW) for m in (dense_norm_of_steps, dense_norms, ceilings)),
    ],
)
def test_no_scale_of_the_file_comes_from_the_calibration_set(make, tmp_path):
    """Two files calibrated on different data are equal byte by byte, and each answers within two steps of the model."""
    keras.utils.set_random_seed(0)
    aware, skipped = quantize_aware(make())
    assert not skipped
    rng, shape = np.random.default_rng(0), (40, *aware.input_shape[1:])
    ids = make is words
    x = rng.integers(0, 50, shape) if ids else rng.normal(size=shape).astype(np.float32)
    for _ in range(3):
        aware(x, training=True)
    path, other = int8(aware, x, tmp_path / "a"), int8(aware, x[:3] if ids else 3 * x + 1, tmp_path / "b")
    assert path.read_bytes() == other.read_bytes()
    assert describe(path)["float_tensors"] == 0
    step = Interpreter(str(path)).get_output_details()[0]["quantization"][0]
    assert np.abs(predict(path, x) - aware.predict(x, verbose=0)).max() <= 2.01 * step


@pytest.mark.slow
@pytest.mark.parametrize("make", [cnn, pytest.param(temporal, marks=SLOW)])
def test_clusters_stay_from_training_to_the_file(make, digits, tmp_path):
    """With one scale a kernel, 8 values are 8 integers at the most: in training, and in the file."""
    keras.utils.set_random_seed(0)
    aware = quantize_aware(folded(make()), per_tensor=True).model
    x = digits[0] if make is temporal else digits[0][..., None]
    keep_clusters(aware, 3)
    trained(aware, x, digits[1], epochs=1)
    assert all(len(np.unique(kernel)) <= 8 for kernel in kernels(aware))
    path = int8(aware, x[:20], tmp_path / "clusters", "int8_per_tensor")
    held = integers_of_kernels(path)
    assert len(held) == len(kernels(aware))
    assert all(len(np.unique(kernel)) <= 8 for kernel in held)
    assert np.mean(predict(path, x).argmax(1) == aware.predict(x, verbose=0).argmax(1)) >= 0.995


def integers_of_kernels(path):
    """The int8 constants of a file; what it computes can't be read before it runs."""
    interpreter = Interpreter(str(path))
    details = [t for t in interpreter.get_tensor_details() if t["dtype"] == np.int8 and not t["quantization"][1]]
    found = []
    for tensor in details:
        with contextlib.suppress(ValueError):
            found.append(interpreter.get_tensor(tensor["index"]))
    return found


@pytest.mark.parametrize("options", [{"strides": 2}, {"dilation_rate": 2, "padding": "causal"}, {"use_bias": False}])
def test_a_convolution_over_time_is_computed_with_its_rounded_kernel(options):
    x = np.random.default_rng(0).normal(size=(3, 17, 4)).astype(np.float32)
    plain, rounded = layers.Conv1D(6, 3, activation="relu", **options), QuantConv1D(6, 3, activation="relu", **options)
    expected, before = plain(x), rounded(x)
    rounded.set_weights(plain.get_weights())
    assert np.abs(rounded(x) - expected).max() > 1e-4
    plain.kernel.assign(rounded_kernel(plain.kernel, 2))
    assert np.asarray(rounded(x)) == pytest.approx(np.asarray(plain(x)), abs=1e-6)
    assert before.shape == expected.shape


def test_before_any_rounding_the_copy_has_the_weights_of_the_model():
    plain = depthwise()
    aware = quantize_aware(plain).model
    held = [
        weight for layer in aware.layers if not isinstance(layer, ActivationRange) for weight in layer.get_weights()
    ]
    given = [weight for layer in plain.layers for weight in layer.get_weights()]
    assert len(held) == len(given)
    assert all(map(np.array_equal, held, given))


def test_a_kernel_is_rounded_to_255_steps_of_its_largest_value():
    """±1 are the ends, so a step is 1 / 127: 0.5 is 63.5 steps, rounded to 64 of them."""
    assert np.asarray(rounded_kernel(np.array([[-1.0, 0.5, 1.0]], np.float32), None)) == pytest.approx(
        np.array([[-1.0, 64 / 127, 1.0]])
    )


def test_a_range_is_that_of_the_first_batch_then_an_average():
    layer = ActivationRange(momentum=0.5)
    layer(np.array([1.0, 4.0], np.float32), training=True)
    assert (float(layer.low), float(layer.high)) == (0.0, 4.0)
    layer(np.array([-2.0, 2.0], np.float32), training=True)
    assert (float(layer.low), float(layer.high)) == (-1.0, 3.0)
    layer(np.array([-9.0], np.float32), training=False)
    assert (float(layer.low), float(layer.high)) == (-1.0, 3.0)
