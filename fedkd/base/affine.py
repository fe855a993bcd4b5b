"""Between real numbers and the steps that a device's integers count."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fedkd.base.errors import InputError

QUANTIZED = (np.int8, np.int16)


def checked(x: np.ndarray, shape: Sequence[int], dtype: Any) -> np.ndarray:
    """Return x if it fits a file's input of a shape (batch first) and dtype.

    Raises:
        InputError: Its shape or kind is another.
    """
    row = tuple(int(size) for size in shape[1:])
    if x.ndim == 0 or x.shape[1:] != row:
        raise InputError(f"x must have shape (n, {', '.join(map(str, row))}), got {x.shape}")
    ids = dtype == np.int32
    if x.dtype.kind not in ("iu" if ids else "f"):
        raise InputError(f"x must hold {'integers' if ids else 'floats'} for this file, got {x.dtype}")
    return x


def scale_and_zero(low: float, high: float, bits: int) -> tuple[float, int]:
    """Return the scale and zero point of a range in signed integers: real = (integer - zero point) * scale.

    Args:
        low: The range's lower end.
        high: Its upper end, above the lower one.
        bits: Bits of an integer, at least 2.

    Raises:
        InputError: The range is empty or isn't finite.

    Reference:
        Jacob et al., CVPR 2018, section 3, with its zero point moved by half of the integers.

    >>> scale_and_zero(-1.08, 2.12, 2)
    (1.0666666666666667, -1)
    """
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise InputError(f"a range must be finite and its lower end below its upper end, got {low} to {high}")
    scale = (high - low) / (2**bits - 1)
    return scale, round(-(2 ** (bits - 1)) - low / scale)


def quantize(x: np.ndarray, dtype: Any, scale: float, zero_point: int) -> np.ndarray:
    """Return real / scale + zero point in int8 or int16, clipped to what these hold; a plain cast in other dtypes.

    Raises:
        InputError: A number isn't finite.
    """
    if dtype not in QUANTIZED:
        return x.astype(dtype)
    if not np.isfinite(x).all():
        raise InputError("x must be finite to be quantized, got NaN or infinity")
    ends = np.iinfo(dtype)
    steps = np.round(x.astype(np.float32) / np.float32(scale)) + zero_point
    return np.clip(steps, ends.min, ends.max).astype(dtype)


def held(dtype: Any, scale: float, zero_point: int) -> tuple[float, float, float] | None:
    """Return the lowest and highest number that int8 or int16 holds, and a step; None for other dtypes.

    >>> held(np.int8, 0.5, -128)
    (0.0, 127.5, 0.5)
    """
    if dtype not in QUANTIZED:
        return None
    ends = np.iinfo(dtype)
    return (ends.min - zero_point) * scale, (ends.max - zero_point) * scale, scale


def beyond(x: np.ndarray, low: float, high: float, step: float) -> np.ndarray:
    """Return the share of each row's numbers that lie more than a step outside a range, float (n,), n at least 1."""
    outside = (x < low - step) | (x > high + step)
    return np.asarray(outside.reshape(len(x), -1).mean(-1))


def dequantize(steps: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """Return (integer - zero point) * scale in float32; a plain cast of other dtypes."""
    if steps.dtype not in QUANTIZED:
        return steps.astype(np.float32)
    return (steps.astype(np.float32) - zero_point) * np.float32(scale)
