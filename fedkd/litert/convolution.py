"""Convolutions by a kernel that is no constant, as matrix products: LiteRT's own takes several times as long.

With a kernel that is trained, LiteRT's CONV_2D leaves its fast path, while BATCH_MATMUL stays on it. So what windows
see is laid side by side: either at all their positions, and a product gives the outputs; or only at those of one row
of the kernel, and a product with all rows gives what, shifted by the row and summed, are the outputs. The first copies
``height * width`` times the inputs, the second ``width`` times the inputs and ``height`` times the outputs.
"""

import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from fedkd.litert.windows import Sides, columns_seen, padded, returned, rows_seen, side_by_side, sides

_AT_ONCE = 2**17  # numbers laid side by side: as much as a small processor's cache holds
_SUMMED = 1024  # places that one product sums over, at most: LiteRT is slow with tens of thousands


class Lot(NamedTuple):
    """Rows of a kernel that one product is for.

    Args:
        laid: Those that are laid side by side, each with all its columns.
        rows: Those whose weights are side by side, a stride apart; more than one only where one is laid.
        height: Windows down: those of the last row stand past those of the first.
    """

    laid: Sequence[int]
    rows: Sequence[int]
    height: int


def _lots(around: Sides, kernel: Sequence[int]) -> list[Lot]:
    down, _ = around
    height, width, channels, outputs = kernel
    rows = range(height)
    if height == 1 or width * channels <= outputs:
        return [Lot(rows, rows[:1], down.number)]
    taken = [rows[first :: down.stride] for first in rows[: down.stride]]
    return [Lot(some[:1], some, down.number + len(some) - 1) for some in taken]


def convolution_sides(op: tf.Operation) -> Sides:
    """Place the windows of a convolution, or of a transposed one, whose images are what it gives.

    Raises:
        NotImplementedError: Its kernel is for groups of the images' channels.
    """
    images, kernel = (op.outputs[0], op.inputs[1]) if op.type == "Conv2DBackpropInput" else op.inputs
    if kernel.shape[2] != images.shape[3]:
        raise NotImplementedError("convolutions in groups")
    return sides(op, images, tuple(kernel.shape[:2]))


def convolved(images: Any, kernel: Any, around: Sides) -> Any:
    """Return what windows give: (n, windows down, windows across, outputs).

    Args:
        images: (n, height, width, channels).
        kernel: (window's height, its width, channels, outputs).
        around: Where the windows stand.
    """
    lots, outputs = _lots(around, kernel.shape), kernel.shape[3]

    def some(images: Any) -> Any:
        found = []
        for lot, laid in zip(lots, _laid(images, around, lots), strict=True):
            given = _product(laid, _weights(kernel, lot))
            found += [_part(given, b, around[0].number, b, outputs) for b in range(len(lot.rows))]
        return functools.reduce(operator.add, found)

    return tf.concat([some(part) for part in _parts(around, kernel.shape, images)], 0)


# TensorFlow's operations, of themselves and of their inputs.
CONVOLUTIONS: Mapping[str, Callable[..., Any]] = {
    "Conv2D": lambda op, images, kernel: convolved(images, kernel, convolution_sides(op)),
    "Conv2DBackpropInput": lambda op, _, kernel, windows: images_slope(windows, kernel, convolution_sides(op)),
}


def images_slope(slope: Any, kernel: Any, around: Sides) -> Any:
    """Return the slopes of images by those of what windows gave, (n, windows down, windows across, outputs)."""
    lots, (_, width, channels, _) = _lots(around, kernel.shape), kernel.shape

    def some(slope: Any) -> Any:
        parts: dict[tuple[int, int], Any] = {}
        for lot in lots:
            back = _product(_shifted(slope, lot), _weights(kernel, lot), transposed=True)
            places = [(i, j) for i in lot.laid for j in range(width)]
            parts |= {place: _part(back, 0, lot.height, a, channels) for a, place in enumerate(places)}
        return returned(parts, around)

    return tf.concat([some(part) for part in _parts(around, kernel.shape, slope)], 0)


def kernel_slope(images: Any, slope: Any, around: Sides) -> Any:
    """Return the slopes of a kernel by images and the slopes of what windows gave."""
    kernel = [*(way.window for way in around), images.shape[3], slope.shape[3]]
    lots, (height, width, channels, outputs) = _lots(around, kernel), kernel
    sums: list[list[Any]] = [[] for _ in lots]
    for some, given in zip(_parts(around, kernel, images), _parts(around, kernel, slope), strict=True):
        for found, lot, laid in zip(sums, lots, _laid(some, around, lots), strict=True):
            found.append(_summed(laid, _shifted(given, lot)))
    totals = [functools.reduce(operator.add, found) for found in sums]
    if len(lots[0].laid) == height:
        return tf.reshape(totals[0], kernel)
    rows: dict[int, Any] = {}
    for lot, total in zip(lots, totals, strict=True):
        each = tf.reshape(total, [1, 1, width * channels, len(lot.rows) * outputs])
        rows |= {row: _part(each, 0, 1, b, outputs) for b, row in enumerate(lot.rows)}
    return tf.reshape(tf.concat([rows[i] for i in range(height)], 0), kernel)


def by_transposed(left: Any, right: Any) -> Any:
    """Return the product of a matrix with another one's transpose; LiteRT has a slower operation for such alone."""
    product = tf.matmul(*(tf.reshape(matrix, [1, *matrix.shape]) for matrix in (left, right)), transpose_b=True)
    return tf.reshape(product, [left.shape[0], right.shape[0]])


def _parts(around: Sides, kernel: Sequence[int], images: Any) -> Sequence[Any]:
    """Images, or what windows gave, in parts of as many as are well taken at once."""
    n, (_, width, channels, outputs) = images.shape[0], kernel
    lots = _lots(around, kernel)
    widest = max(max(len(lot.laid) * width * channels, len(lot.rows) * outputs) for lot in lots)
    most = _AT_ONCE // (lots[0].height * around[1].number * widest)
    together = _divisor(n, most)
    # Not split: LiteRT's own operation for that is slow.
    size = [together, *images.shape[1:]]
    return [images] if together == n else [tf.slice(images, [i, 0, 0, 0], size) for i in range(0, n, together)]


def _divisor(n: int, most: int) -> int:
    """Return the largest divisor of n that is no more than ``most``, or 1."""
    return max(i for i in range(1, n + 1) if n % i == 0 and (i == 1 or i <= most))


def _laid(images: Any, around: Sides, lots: Sequence[Lot]) -> list[Any]:
    """What windows see, side by side: for each lot (n, lot.height, windows across, rows laid * columns * channels)."""
    wide = columns_seen(padded(images, around), around, range(around[1].window))
    return [rows_seen(wide, around, lot.laid, lot.height) for lot in lots]


def _shifted(slope: Any, lot: Lot) -> Any:
    """Slopes of what windows gave, once for each row, where the row's windows stand: as ``_laid``, rows * outputs."""
    last = len(lot.rows) - 1
    return side_by_side(
        [tf.pad(slope, [(0, 0), (b, last - b), (0, 0), (0, 0)]) if last else slope for b in range(last + 1)]
    )


def _weights(kernel: Any, lot: Lot) -> Any:
    """Weights of a lot: (rows laid * columns * channels, rows * outputs)."""
    height, width, channels, outputs = kernel.shape
    if len(lot.laid) == height:
        return tf.reshape(kernel, [height * width * channels, outputs])
    # Slices that lose an axis are slow in LiteRT.
    rows = [tf.slice(kernel, [i, 0, 0, 0], [1, width, channels, outputs]) for i in lot.rows]
    return tf.reshape(side_by_side(rows), [width * channels, len(lot.rows) * outputs])


def _product(values: Any, weights: Any, transposed: bool = False) -> Any:
    """Images of the products of each pixel's channels with weights, or their transpose."""
    flat = tf.reshape(values, [-1, values.shape[3]])
    product = by_transposed(flat, weights) if transposed else flat @ weights
    return tf.reshape(product, [*values.shape[:3], -1])


def _summed(left: Any, right: Any) -> Any:
    """Sum of the outer products of each pixel's channels: (channels of the left, of the right)."""
    n, places = left.shape[0], left.shape[1] * left.shape[2]
    together = _divisor(n, _SUMMED // places)
    left, right = (tf.reshape(values, [n // together, together * places, -1]) for values in (left, right))
    return tf.reduce_sum(tf.matmul(left, right, transpose_a=True), 0)


def _part(values: Any, row: int, rows: int, which: int, channels: int) -> Any:
    """Some rows of images, and the channels of one of those that lie side by side."""
    n, _, columns, _ = values.shape
    return tf.slice(values, [0, row, 0, which * channels], [n, rows, columns, channels])
