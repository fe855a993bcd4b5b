"""Gradients of our own equal TensorFlow's."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

from fedkd.base.built_in import tracing_built_in
from fedkd.compress.fake_quant import rounded
from fedkd.distill.keras_trainer import taped
from fedkd.edge.ops import ops
from fedkd.litert.gradients import differentiate
from fedkd.litert.lower import to_tflite, without_draws

RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.standard_normal(shape).astype("float32")


def windows(call, *kernel, size=(9, 8), channels=3):
    return call, [normal(2, *size, channels), *([normal(*kernel)] if kernel else [])]


def conv(strides, padding, dilations=1):
    return lambda x, w: tf.nn.convolution(x, w, strides, padding, dilations=dilations)


def depthwise(stride, padding, dilation=1):
    return lambda x, w: tf.nn.depthwise_conv2d(x, w, [1, stride, stride, 1], padding, dilations=[dilation, dilation])


def transposed(stride, padding, out):
    return lambda x, w: tf.nn.conv2d_transpose(x, w, (2, *out, 4), stride, padding)


def pool(kind, size, stride, padding):
    return lambda x: kind(x, size, stride, padding)


def ties(x):
    """Largest values that several places of a window share."""
    return tf.nn.max_pool2d(tf.round(x), 3, 2, "SAME")


CASES = {
    "relu": (tf.nn.relu, [normal(4, 5)]),
    "relu6": (lambda x: tf.nn.relu6(5 * x), [normal(4, 50)]),
    "leaky_relu": (lambda x: tf.nn.leaky_relu(x, 0.3), [normal(4, 5)]),
    "elu": (tf.nn.elu, [normal(4, 5)]),
    "selu": (tf.nn.selu, [normal(4, 5)]),
    "softplus": (tf.nn.softplus, [normal(4, 5)]),
    **{
        f"conv {strides} {padding} {dilations}": windows(conv(strides, padding, dilations), 3, 2, 3, 4)
        for strides, dilations in [(1, 1), (2, 1), ((2, 3), 1), (1, (2, 3)), (4, 1)]
        for padding in ("SAME", "VALID")
    },
    "conv of one position, leaping": windows(conv(2, "VALID"), 1, 1, 3, 4),
    "conv of more outputs than it sees": windows(conv((2, 1), "SAME"), 3, 3, 3, 10),
    "conv of large images": (conv(2, "SAME"), [normal(6, 70, 60, 8), normal(5, 5, 8, 4)]),
    **{
        f"depthwise {stride} {padding} {dilation} {multiplier}": windows(
            depthwise(stride, padding, dilation), 3, 3, 3, multiplier
        )
        for stride, dilation, multiplier in [(1, 1, 1), (2, 1, 1), (1, 2, 2), (2, 1, 3)]
        for padding in ("SAME", "VALID")
    },
    "transposed same": windows(transposed(2, "SAME", (18, 16)), 3, 3, 4, 3),
    "transposed valid": windows(transposed(2, "VALID", (19, 17)), 3, 3, 4, 3),
    **{
        f"{name} {size} {stride} {padding}": windows(pool(kind, size, stride, padding))
        for name, kind in (("max", tf.nn.max_pool2d), ("average", tf.nn.avg_pool2d))
        for size, stride in [(2, 2), (3, 2), (2, 1), (2, 3), ((1, 3), (1, 2))]
        for padding in ("SAME", "VALID")
    },
    "max of ties": windows(ties),
    "product": (tf.matmul, [normal(3, 4), normal(4, 5)]),
    "product with a transpose": (lambda a, b: tf.matmul(a, b, transpose_b=True), [normal(3, 4), normal(5, 4)]),
    "product of a transpose": (lambda a, b: tf.matmul(a, b, transpose_a=True), [normal(4, 3), normal(4, 5)]),
    "product of transposes": (lambda a, b: tf.matmul(a, b, True, True), [normal(4, 3), normal(5, 4)]),
    "slices": (lambda x: x[1:, None, 2, ..., -2:], [normal(3, 4, 2, 5)]),
    "new axes": (lambda x: x[None] - x[:, None], [normal(3, 4)]),
}


@pytest.mark.parametrize("call, arrays", CASES.values(), ids=CASES)
def test_gradients_are_tensorflows(call, arrays):
    weights = normal(*call(*arrays).shape)

    def compute(given):
        return tf.reduce_sum(call(*given) * weights), None

    def slopes(way):
        @tf.function(autograph=False)
        def found(*given):
            return way(lambda: compute(given), list(given))[0]

        return [array.numpy() for array in found(*map(tf.constant, arrays))]

    for theirs, ours in zip(slopes(taped), slopes(differentiate), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max(), rtol=0)


def test_convolutions_are_tensorflows_and_matrix_products(tmp_path):
    """In one file, for that is sooner made than many."""
    cases = {name: case for name, case in CASES.items() if name.startswith(("conv", "transposed"))}
    keys = {name: f"f{i}" for i, name in enumerate(cases)}
    arguments = {
        name: {key: tf.TensorSpec(array.shape) for key, array in zip("xw", arrays, strict=True)}
        for name, (_, arrays) in cases.items()
    }
    lowered = {
        keys[name]: without_draws(lambda x, w, call=call: {"y": call(x, w)}, arguments[name])
        for name, (call, _) in cases.items()
    }
    (path := tmp_path / "file.tflite").write_bytes(to_tflite(lowered))
    file = Interpreter(str(path), num_threads=1)
    for name, (call, arrays) in cases.items():
        theirs = call(*arrays).numpy()
        ours = file.get_signature_runner(keys[name])(**dict(zip("xw", arrays, strict=True)))["y"]
        np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max(), rtol=0, err_msg=name)
    assert not {op.name for op in ops(path)} & {"CONV_2D", "TRANSPOSE_CONV"}


def test_gradients_have_no_operation_that_litert_lacks():
    kinds = set()
    for call, arrays in CASES.values():

        @tf.function(autograph=False)
        def found(*given, call=call):
            return differentiate(lambda: (tf.reduce_sum(call(*given)), None), list(given))[0]

        graph = found.get_concrete_function(*map(tf.constant, arrays)).graph
        kinds |= {op.type for op in graph.get_operations()}
    assert not {kind for kind in kinds if kind.endswith("Grad") or "BackpropFilter" in kind}


@pytest.mark.parametrize("narrow, axis, bits", [(False, None, 8), (True, None, 8), (True, 1, 8), (True, 0, 4)])
def test_rounding_in_built_in_operations_is_rounding(narrow, axis, bits):
    x = 2 * normal(40, 5)
    size = () if axis is None else (x.shape[axis],)
    low, high = np.full(size, -1.3, np.float32), np.full(size, 1.7, np.float32)
    weights = normal(*x.shape)

    def call(*given):
        y = rounded(*given, bits, narrow, axis)
        return tf.reduce_sum(weights * y), y

    theirs, values = taped(lambda: call(*found), found := [tf.constant(array) for array in (x, low, high)])
    with tracing_built_in():
        ours, ours_values = taped(lambda: call(*found), found)
    np.testing.assert_allclose(ours_values, values, atol=1e-6)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
