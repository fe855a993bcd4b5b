"""Gradients in operations that LiteRT has built in, for those of TensorFlow's that it lacks.

``differentiate`` takes them in place of TensorFlow's own while a step is traced. They equal TensorFlow's up to the
order of sums; of several largest values in a pooling window the first has the gradient, as in TensorFlow's kernels.
"""

import math
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from fedkd.litert.convolution import by_transposed, convolution_sides, convolved, images_slope, kernel_slope
from fedkd.litert.windows import Sides, padded, returned, seen, sides

_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def differentiate(compute: Callable[[], tuple[Any, Any]], groups: Any) -> tuple[Any, Any]:
    """Compute something and its gradients, see ``fedkd.distill.keras_trainer.taped``; in a graph only."""
    graph = tf.compat.v1.get_default_graph()
    with graph.gradient_override_map(_OURS):
        total, rest = compute()
    flat = keras.tree.flatten(groups)
    found = tf.gradients(total, flat, unconnected_gradients=tf.UnconnectedGradients.ZERO)
    return keras.tree.pack_sequence_as(groups, found), rest


_OURS: dict[str, str] = {}


def _gradient_of(kind: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    name = f"fedkd.{kind}"
    _OURS[kind] = name
    return tf.RegisterGradient(name)


@_gradient_of("Relu")
def _relu(op: tf.Operation, slope: Any) -> Any:
    return slope * tf.cast(op.outputs[0] > 0, slope.dtype)


@_gradient_of("Relu6")
def _relu6(op: tf.Operation, slope: Any) -> Any:
    x = op.inputs[0]
    return slope * tf.cast(tf.logical_and(x > 0, x < 6), slope.dtype)


@_gradient_of("LeakyRelu")
def _leaky_relu(op: tf.Operation, slope: Any) -> Any:
    return slope * tf.where(op.inputs[0] > 0, 1.0, op.get_attr("alpha"))


@_gradient_of("Elu")
def _elu(op: tf.Operation, slope: Any) -> Any:
    y = op.outputs[0]
    return slope * tf.where(y > 0, tf.ones_like(y), y + 1)


@_gradient_of("Selu")
def _selu(op: tf.Operation, slope: Any) -> Any:
    y = op.outputs[0]
    return slope * tf.where(y > 0, tf.fill(y.shape, _SELU_SCALE), y + _SELU_SCALE * _SELU_ALPHA)


@_gradient_of("Softplus")
def _softplus(op: tf.Operation, slope: Any) -> Any:
    return slope * tf.sigmoid(op.inputs[0])


@_gradient_of("MatMul")
def _product(op: tf.Operation, slope: Any) -> tuple[Any, Any]:
    (left, right), of_left, of_right = op.inputs, op.get_attr("transpose_a"), op.get_attr("transpose_b")
    if of_left:
        return (
            tf.matmul(right, slope, transpose_a=of_right, transpose_b=True),
            tf.matmul(slope, left, True, True) if of_right else tf.matmul(left, slope),
        )
    if of_right:
        return tf.matmul(slope, right), tf.matmul(slope, left, transpose_a=True)
    return by_transposed(slope, right), tf.matmul(left, slope, transpose_a=True)


@_gradient_of("Conv2D")
def _convolution(op: tf.Operation, slope: Any) -> tuple[Any, Any]:
    images, kernel = op.inputs
    around = convolution_sides(op)
    return images_slope(slope, kernel, around), kernel_slope(images, slope, around)


@_gradient_of("Conv2DBackpropInput")
def _transposed(op: tf.Operation, slope: Any) -> tuple[None, Any, Any]:
    """Of a transposed convolution, which takes windows to images: kernel (height, width, images', windows')."""
    _, kernel, windows = op.inputs
    around = convolution_sides(op)
    return None, kernel_slope(slope, windows, around), convolved(slope, kernel, around)


@_gradient_of("DepthwiseConv2dNative")
def _depthwise(op: tf.Operation, slope: Any) -> tuple[Any, Any]:
    images, kernel = op.inputs
    height, width, channels, multiplier = kernel.shape
    around = sides(op, images, (height, width))
    wide = padded(images, around)
    each = tf.reshape(slope, [*slope.shape[:3], channels, multiplier])
    places = _positions(around)
    rows = [tf.reduce_sum(seen(wide, around, i, j)[..., None] * each, [0, 1, 2]) for i, j in places]
    parts = {(i, j): tf.reduce_sum(each * kernel[i, j], 4) for i, j in places}
    return returned(parts, around), tf.reshape(tf.stack(rows), kernel.shape)


@_gradient_of("MaxPool")
def _max_pool(op: tf.Operation, slope: Any) -> Any:
    images, largest = op.inputs[0], op.outputs[0]
    around = sides(op, images, tuple(op.get_attr("ksize")[1:3]))
    wide = padded(images, around, -math.inf)
    free, parts = tf.ones_like(largest), {}
    for place in _positions(around):
        here = free * tf.cast(tf.equal(seen(wide, around, *place), largest), slope.dtype)
        parts[place] = slope * here
        free -= here
    return returned(parts, around)


@_gradient_of("AvgPool")
def _average_pool(op: tf.Operation, slope: Any) -> Any:
    images = op.inputs[0].shape
    around = sides(op, op.inputs[0], tuple(op.get_attr("ksize")[1:3]))
    share = slope / _places(images, around)
    return returned(dict.fromkeys(_positions(around), share), around)


def _positions(around: Sides) -> list[tuple[int, int]]:
    """Row and column of all positions in a window."""
    return [(i, j) for i in range(around[0].window) for j in range(around[1].window)]


def _places(images: Any, around: Sides) -> Any:
    """How many positions of each window lie in the image: (1, windows down, windows across, 1)."""
    counts = []
    for way in around:
        starts = [window * way.stride - way.before for window in range(way.number)]
        counts.append([min(start + way.window, way.size) - max(start, 0) for start in starts])
    return tf.constant([[[[float(down * across)] for across in counts[1]] for down in counts[0]]])


@_gradient_of("StridedSlice")
def _slice(op: tf.Operation, slope: Any) -> tuple[Any, None, None, None]:
    """Zeros around a slice of known bounds and of every element."""
    shape = op.inputs[0].shape
    begin, end, step = (tf.get_static_value(bound) for bound in op.inputs[1:])
    masks = {name: op.get_attr(f"{name}_mask") for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    if begin is None or end is None or (step != 1).any():
        raise NotImplementedError("slices that leap, or whose bounds aren't known")
    set_at = {name: [bool(mask >> i & 1) for i in range(len(begin))] for name, mask in masks.items()}
    axes = sum(not new and not all_ for new, all_ in zip(set_at["new_axis"], set_at["ellipsis"], strict=True))
    around: list[tuple[int, int]] = []  # of each axis: where the slice begins and ends
    for i in range(len(begin)):
        if set_at["ellipsis"][i]:
            left = len(shape) - axes
            around += [(0, size) for size in shape[len(around) : len(around) + left]]
        elif not set_at["new_axis"][i]:
            size = shape[len(around)]
            first, last, _ = slice(
                None if set_at["begin"][i] else int(begin[i]), None if set_at["end"][i] else int(end[i])
            ).indices(size)
            first = int(begin[i]) % size if set_at["shrink_axis"][i] else first
            around.append((first, first + 1 if set_at["shrink_axis"][i] else max(first, last)))
    around += [(0, size) for size in shape[len(around) :]]
    inner = tf.reshape(slope, [last - first for first, last in around])
    widths = [(first, size - last) for (first, last), size in zip(around, shape, strict=True)]
    return tf.pad(inner, widths), None, None, None
