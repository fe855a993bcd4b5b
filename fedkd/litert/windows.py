"""What a window sees as it moves over images, and what it leaves behind: slices, zeros between, zeros around.

Images are (n, height, width, channels), of known shapes.
"""

from typing import Any, NamedTuple

import tensorflow as tf


class Side(NamedTuple):
    """How windows stand along one side of an image.

    Args:
        size: Of the image.
        window: Positions of a window.
        stride: From one window to the next.
        before: Zeros ahead of the image.
        number: Of windows.
    """

    size: int
    window: int
    stride: int
    before: int
    number: int

    @property
    def span(self) -> int:
        """From the first position of the first window to the end of the last."""
        return (self.number - 1) * self.stride + self.window


def side(size: int, window: int, stride: int, same: bool) -> Side:
    """Place windows as TensorFlow does with padding SAME or VALID."""
    if not same:
        return Side(size, window, stride, 0, (size - window) // stride + 1)
    count = -(-size // stride)
    return Side(size, window, stride, max((count - 1) * stride + window - size, 0) // 2, count)


Sides = tuple[Side, Side]


def sides(op: tf.Operation, images: Any, window: tuple[int, int]) -> Sides:
    """Place the windows of an operation with strides and padding.

    Dilated kernels are none here: TensorFlow's kernels for processors lack them, and Keras moves pixels apart instead.
    """
    if op.get_attr("data_format") != b"NHWC":
        raise NotImplementedError(f"{op.type} with channels first")
    padding = op.get_attr("padding")
    if padding not in (b"SAME", b"VALID"):
        raise NotImplementedError(f"{op.type} with explicit padding")
    if any(step != 1 for step in op.node_def.attr["dilations"].list.i):
        raise NotImplementedError(f"{op.type} with dilations")
    strides = op.get_attr("strides")
    rows, columns = (side(images.shape[axis], window[axis - 1], strides[axis], padding == b"SAME") for axis in (1, 2))
    return rows, columns


def padded(images: Any, around: Sides, value: float = 0.0) -> Any:
    """Put around images what their windows see beyond the edges; what no window sees is cut off."""
    widths, ends = [[0, 0]], []
    for way in around:
        after = way.span - way.before - way.size
        widths.append([way.before, max(after, 0)])
        ends.append(way.span)
    wide = tf.pad(images, [*widths, [0, 0]], constant_values=value)
    return wide[:, : ends[0], : ends[1]]


def seen(wide: Any, around: Sides, row: int, column: int) -> Any:
    """What all windows see at one of their positions: (n, windows down, windows across, channels)."""
    begins, ends, strides = [0], [wide.shape[0]], [1]
    for way, place in zip(around, (row, column), strict=True):
        begins.append(place)
        ends.append(place + (way.number - 1) * way.stride + 1)
        strides.append(way.stride)
    return tf.strided_slice(wide, [*begins, 0], [*ends, wide.shape[3]], [*strides, 1])


def spread(values: Any, around: Sides) -> Any:
    """Put ``stride - 1`` zeros between the values (n, windows down, windows across, channels) of windows."""
    n, channels = values.shape[0], values.shape[3]
    rows, columns = around
    if rows.stride > 1:
        line = tf.reshape(values, [n, rows.number, 1, columns.number * channels])
        line = tf.pad(line, [[0, 0], [0, 0], [0, rows.stride - 1], [0, 0]])
        values = tf.reshape(line, [n, rows.number * rows.stride, columns.number, channels])
    if columns.stride > 1:
        line = tf.reshape(values, [n * values.shape[1], columns.number, 1, channels])
        line = tf.pad(line, [[0, 0], [0, 0], [0, columns.stride - 1], [0, 0]])
        values = tf.reshape(line, [n, -1, columns.number * columns.stride, channels])
    return values[:, : (rows.number - 1) * rows.stride + 1, : (columns.number - 1) * columns.stride + 1]


def returned(values: Any, around: Sides, row: int, column: int) -> Any:
    """Lay values of windows back where one of their positions saw them: the other way of ``seen``."""
    widths = [[0, 0]]
    for way, place in zip(around, (row, column), strict=True):
        widths.append([place, way.window - 1 - place])
    return tf.pad(spread(values, around), [*widths, [0, 0]])


def cut(wide: Any, around: Sides) -> Any:
    """Take off what ``padded`` put around images, and put zeros where it cut."""
    pieces = wide
    widths = [[0, 0]]
    for axis, way in enumerate(around, 1):
        begin = [0] * 4
        begin[axis] = way.before
        lengths = list(pieces.shape)
        lengths[axis] = min(way.size, way.span - way.before)
        pieces = tf.slice(pieces, begin, lengths)
        widths.append([0, way.size - lengths[axis]])
    return tf.pad(pieces, [*widths, [0, 0]]) if any(after for _, after in widths) else pieces
