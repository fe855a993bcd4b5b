"""What a window sees as it moves over images, and what it leaves behind: slices, zeros around, sums.

Images are (n, height, width, channels), of known shapes. LiteRT's slices that leap are slow, so where windows leap by
a stride, images are taken apart by it: what stands ``stride`` apart stands side by side then.
"""

import functools
import operator
from collections.abc import Mapping, Sequence
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
    def steps(self) -> int:
        """Strides from the first position of the first window to past the last position of the last."""
        return self.number - 1 + -(-self.window // self.stride)

    @property
    def wide(self) -> int:
        """Positions in so many strides."""
        return self.steps * self.stride


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
    """Put around images what their windows see beyond the edges, cut off what none sees, and take the rest apart.

    Returns:
        (n, steps down, stride down, steps across, stride across, channels)
    """
    (down, across), n, channels = around, images.shape[0], images.shape[3]
    images = _slice(images, [0] * 4, [n, *(min(way.size, way.wide - way.before) for way in around), channels])
    rows, columns = ((way.before, way.wide - way.before - images.shape[axis]) for axis, way in enumerate(around, 1))
    images = _surrounded(images, rows, columns, value)
    return tf.reshape(images, [n, down.steps, down.stride, across.steps, across.stride, channels])


def _surrounded(images: Any, rows: tuple[int, int], columns: tuple[int, int], value: float = 0.0) -> Any:
    if rows == columns == (0, 0):
        return images
    return tf.pad(images, [(0, 0), rows, columns, (0, 0)], constant_values=value)


def _slice(values: Any, begin: Sequence[int], size: Sequence[int]) -> Any:
    return values if values.shape == tuple(size) else tf.slice(values, begin, size)


def columns_seen(apart: Any, around: Sides, columns: Sequence[int]) -> Any:
    """What windows see at some of their columns, side by side, in all rows.

    Args:
        apart: From ``padded``.
        around: As given there.
        columns: Of positions in a window.

    Returns:
        (n, steps down, stride down, windows across, columns * channels)
    """
    down, across = around
    n, channels = apart.shape[0], apart.shape[5]
    pieces = []
    for column in columns:
        begin = [0, 0, 0, column // across.stride, column % across.stride, 0]
        piece = _slice(apart, begin, [n, down.steps, down.stride, across.number, 1, channels])
        pieces.append(tf.reshape(piece, [n, down.steps, down.stride, across.number, channels]))
    return side_by_side(pieces)


def rows_seen(wide: Any, around: Sides, rows: Sequence[int], height: int) -> Any:
    """Of what ``columns_seen`` gives, what windows see at some of their rows, side by side.

    Args:
        wide: Of all rows.
        around: As given there.
        rows: Of positions in a window.
        height: Windows down; where it is more than there are, the last ones stand past the others.

    Returns:
        (n, height, windows across, rows * columns * channels)
    """
    n, _, _, width, channels = wide.shape
    stride, pieces = around[0].stride, []
    for row in rows:
        piece = _slice(wide, [0, row // stride, row % stride, 0, 0], [n, height, 1, width, channels])
        pieces.append(tf.reshape(piece, [n, height, width, channels]))
    return side_by_side(pieces)


def seen(apart: Any, around: Sides, row: int, column: int) -> Any:
    """What all windows see at one of their positions: (n, windows down, windows across, channels)."""
    return rows_seen(columns_seen(apart, around, [column]), around, [row], around[0].number)


def side_by_side(pieces: Sequence[Any]) -> Any:
    """Concatenate along the last axis."""
    return pieces[0] if len(pieces) == 1 else tf.concat(pieces, -1)


def returned(parts: Mapping[tuple[int, int], Any], around: Sides) -> Any:
    """Lay values of windows back where their positions saw them, and sum: the other way of ``padded`` and ``seen``.

    Args:
        parts: By row and column of a position, what all windows have for it, as from ``seen``.
        around: Of the windows.

    Returns:
        Images; zeros where no window saw anything.
    """
    down, across = around
    apart: dict[tuple[int, int], list[Any]] = {}
    for (row, column), values in parts.items():
        above, left = row // down.stride, column // across.stride
        below, right = (way.steps - size for way, size in zip(around, values.shape[1:3], strict=True))
        place = apart.setdefault((row % down.stride, column % across.stride), [])
        place.append(_surrounded(values, (above, below - above), (left, right - left)))
    sums = {place: functools.reduce(operator.add, values) for place, values in apart.items()}
    nothing = tf.zeros_like(next(iter(sums.values())))
    n, rows, _, channels = nothing.shape
    lines = []
    for i in range(down.stride):
        line = side_by_side([sums.get((i, j), nothing) for j in range(across.stride)])
        lines.append(tf.reshape(line, [n, rows, across.wide * channels]))
    return _cut(tf.reshape(side_by_side(lines), [n, down.wide, across.wide, channels]), around)


def _cut(wide: Any, around: Sides) -> Any:
    """Take off what ``padded`` put around images, and put zeros where it cut."""
    n, channels = wide.shape[0], wide.shape[3]
    sizes = [min(way.size, way.wide - way.before) for way in around]
    images = _slice(wide, [0, *(way.before for way in around), 0], [n, *sizes, channels])
    rows, columns = ((0, way.size - size) for way, size in zip(around, sizes, strict=True))
    return _surrounded(images, rows, columns)
