"""Between real numbers and the steps that a device's integers count."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fedkd.errors import InputError

QUANTISED = (np.int8, np.int16)


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


def quantise(x: np.ndarray, dtype: Any, scale: float, zero_point: int) -> np.ndarray:
    """Return real / scale + zero point in int8 or int16, clipped to what these hold; a plain cast in other dtypes.

    Raises:
        InputError: A number isn't finite.
    """
    if dtype not in QUANTISED:
        return x.astype(dtype)
    if not np.isfinite(x).all():
        raise InputError("x must be finite to be quantised, got NaN or infinity")
    ends = np.iinfo(dtype)
    steps = np.round(x.astype(np.float32) / np.float32(scale)) + zero_point
    return np.clip(steps, ends.min, ends.max).astype(dtype)


def dequantise(steps: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """Return (integer - zero point) * scale in float32; a plain cast of other dtypes."""
    if steps.dtype not in QUANTISED:
        return steps.astype(np.float32)
    return (steps.astype(np.float32) - zero_point) * np.float32(scale)
