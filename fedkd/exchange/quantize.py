"""Numbers of few bits: whole multiples of a step, one step for each row (Alistarh et al., NeurIPS 2017).

The step is a bfloat16 and a level has at most 16 bits, so that level x step is exact in float32: what is decoded is the
same on every machine.
"""

import itertools
from collections.abc import Sequence

import numpy as np

from fedkd.config.exchange import BITS

FLOAT = 32  # bits of a number that isn't quantized
LEVEL_BITS = tuple(bits for bits in BITS if bits != FLOAT)
STEP_BITS = 16
_INFINITE = 0x7F80  # the first bfloat16 that is no finite number of at least 0

# Steps below the one that just holds the largest number, tried where levels are few: clipping a few numbers costs less
# than writing all others coarsely.
_SHRINK = np.linspace(1.0, 0.3, 8)
_FEW = 4


def quantize(rows: np.ndarray, bits: int, rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
    """Round each row to whole multiples of its step.

    Args:
        rows: float32 (g, n), finite.
        bits: Of a level, one of ``LEVEL_BITS``.
        rng: For stochastic rounding, whose mean is the number itself; None rounds to the nearest level.

    Returns:
        levels, int16 (g, n), from -(2^(bits-1) - 1) to 2^(bits-1) - 1; and steps, uint16 (g,), see ``step_values``.
    """
    top = 2 ** (bits - 1) - 1
    widest = np.abs(rows).max(1, initial=0.0) / top
    if rng is not None:
        steps = _bfloat16(widest)
        return _levels(rows, steps, top, rng.random(rows.shape)), steps
    candidates = [_bfloat16(widest * shrink) for shrink in (_SHRINK if bits <= _FEW else (1.0,))]
    errors = [np.sum((dequantize(_levels(rows, s, top), s) - rows) ** 2, 1, dtype=np.float64) for s in candidates]
    steps = np.choose(np.argmin(errors, 0), candidates)
    return _levels(rows, steps, top), steps


def dequantize(levels: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Return levels (g, n) times steps (g,), float32, exactly."""
    values = levels.astype(np.float32)
    values *= step_values(steps)[:, None]
    return values


def step_values(steps: np.ndarray) -> np.ndarray:
    """Read bfloat16 numbers, held as uint16, as float32."""
    return (steps.astype(np.uint32) << 16).view(np.float32)


def pack(levels: np.ndarray, bits: int) -> np.ndarray:
    """Write levels (n,) as bytes, several to a byte where they have 4 or 2 bits; the last byte is filled with zeros."""
    if bits >= 8:
        return levels.astype(f"<i{bits // 8}").view(np.uint8)
    each = 8 // bits
    padded = np.zeros(-(-len(levels) // each) * each, np.uint8)
    padded[: len(levels)] = levels.astype(np.uint8) & (2**bits - 1)
    shifts = np.arange(each, dtype=np.uint8) * np.uint8(bits)
    return np.bitwise_or.reduce(padded.reshape(-1, each) << shifts, 1)


def unpack(content: np.ndarray, bits: int) -> np.ndarray:
    """Undo ``pack``: bytes (m,) as int16 levels, with those that filled the last byte."""
    if bits >= 8:
        return content.view(f"<i{bits // 8}").astype(np.int16, copy=False)
    shifts = np.arange(8 // bits, dtype=np.uint8) * np.uint8(bits)
    raw = ((content[:, None] >> shifts) & np.uint8(2**bits - 1)).astype(np.int16).ravel()
    return np.where(raw >= 2 ** (bits - 1), raw - 2**bits, raw).astype(np.int16)


def write_rows(rows: Sequence[np.ndarray], bits: int, rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
    """Write rows (g, n) of float32 one after the other.

    Returns:
        values, float32 or packed levels, and steps, uint16, none where ``bits`` is 32.
    """
    if bits == FLOAT:
        return np.concatenate([np.empty(0, "<f4"), *(r.ravel() for r in rows)], dtype="<f4"), np.empty(0, "<u2")
    written = [quantize(r, bits, rng) for r in rows]
    levels = np.concatenate([np.empty(0, np.int16), *(q.ravel() for q, _ in written)])
    return pack(levels, bits), np.concatenate([np.empty(0, "<u2"), *(steps for _, steps in written)])


def read_rows(values: np.ndarray, steps: np.ndarray, shapes: Sequence[tuple[int, int]], bits: int) -> list[np.ndarray]:
    """Undo ``write_rows``.

    Raises:
        ValueError: Too few or too many values or steps for the shapes, or any that ``write_rows`` never writes.
    """
    counts, heights = [g * n for g, n in shapes], [g for g, _ in shapes]
    asked = -(-sum(counts) * bits // 8)
    if values.nbytes != asked:
        raise ValueError(f"{values.nbytes} bytes of values, the forms ask for {asked}")
    numbers = values if bits == FLOAT else unpack(values, bits)
    if numbers[sum(counts) :].any():
        raise ValueError("values end in bits that stand for nothing, where the forms ask for zeros")
    ends = itertools.accumulate(counts)
    rows = [numbers[end - n : end].reshape(shape) for end, n, shape in zip(ends, counts, shapes, strict=True)]
    if bits == FLOAT:
        return rows
    if len(steps) != sum(heights) or (steps >= _INFINITE).any() or (numbers < 1 - 2 ** (bits - 1)).any():
        raise ValueError(f"{len(steps)} steps, the forms ask for {sum(heights)}, finite and none of them negative")
    return [dequantize(r, s) for r, s in zip(rows, np.split(steps, np.cumsum(heights)), strict=False)]


def _levels(rows: np.ndarray, steps: np.ndarray, top: int, chance: np.ndarray | None = None) -> np.ndarray:
    values = step_values(steps)[:, None].astype(np.float64)
    scaled = np.divide(rows, values, out=np.zeros(rows.shape), where=values > 0)
    whole = np.rint(scaled) if chance is None else np.floor(scaled + chance)
    return np.clip(whole, -top, top).astype(np.int16)


def _bfloat16(values: np.ndarray) -> np.ndarray:
    """Round positive numbers up to bfloat16, held as uint16."""
    return ((values.astype(np.float32).view(np.uint32) + 0xFFFF) >> 16).astype(np.uint16)
