"""Whole layers left out of a model: those between whose ends the hidden state turns least.

Reference:
    Gromov et al. 2024 (the unreasonable ineffectiveness of the deeper layers).
"""

from dataclasses import dataclass
from numbers import Integral
from typing import Any

import keras
import numpy as np

from fedkd.base.errors import InputError
from fedkd.compress.blocks import blocks
from fedkd.compress.moments import check_examples
from fedkd.models.graph import calls_behind, copy, functional, rebuild

_ROWS = 64  # examples whose hidden states are held at a time


@dataclass(frozen=True, eq=False)
class Angles:
    """By how much hidden states turn between a model's blocks, summed up over examples.

    Sums of two sets of examples add up to those of both.

    Args:
        rows: How many vectors, of each example and each of its steps that counts.
        total: float64 (blocks + 1, blocks + 1): the sum of angles from before a block to behind another, as shares of
            half a turn.
    """

    rows: int
    total: np.ndarray

    def __add__(self, other: "Angles") -> "Angles":
        """The sums over both."""
        if self.total.shape != other.total.shape:
            found = f"{len(self.total) - 1} and {len(other.total) - 1}"
            raise InputError(f"angles must be of the same model, got such of {found} blocks")
        return Angles(self.rows + other.rows, self.total + other.total)


def block_angles(model: keras.Model, x: np.ndarray, real: np.ndarray | None = None) -> Angles:
    """Sum up by how much hidden states turn between a model's blocks.

    Args:
        model: Functional or Sequential, of one input and one output, with blocks alike one behind the other, as the
            layers of a transformer are.
        x: Examples (n, *input_shape).
        real: bool (n, steps), which steps of each count, so that padding doesn't; all where None.

    Raises:
        InputError: There is no example or none of its steps counts, they don't fit the model or ``real`` them, a state
            isn't finite, or there aren't two blocks alike.

    Reference:
        Gromov et al. 2024, eq. 5; over all steps that count, since these models read all of them.
    """
    plain = functional(model)
    check_examples(plain, x, real)
    made = {call.operation.name: tensor for tensor, call in calls_behind(plain.outputs)}
    states = keras.Model(plain.inputs[0], [made[name] for name in blocks(plain)])
    total, rows = 0.0, 0
    for start in range(0, len(x), _ROWS):
        part = slice(start, start + _ROWS)
        units = [_units(np.asarray(each, np.float64), real, part) for each in states(x[part], training=False)]
        cosines = np.array([[(one * other).sum(-1) for other in units] for one in units])
        total = total + np.arccos(np.clip(cosines, -1, 1)).sum(-1) / np.pi
        rows += len(units[0])
    return Angles(rows, np.asarray(total))


def drop_blocks(model: keras.Model, shown: Angles, count: int = 1) -> keras.Model:
    """Return a copy of a model without some of its blocks, one after the other: those that turn the state least.

    Args:
        model: Functional or Sequential; not changed. The copy isn't trained further.
        shown: How states turn, of ``block_angles`` of this model: nothing but the number of blocks is compared.
        count: How many blocks go, at least 1 and fewer than there are.

    Raises:
        InputError: ``count`` breaks its rule, the angles are of another number of blocks, or there aren't two alike.

    Reference:
        Gromov et al. 2024, section 3.2.
    """
    plain = functional(model)
    ends = blocks(plain)
    if shown.total.shape != (len(ends), len(ends)):
        raise InputError(f"angles must be of this model, of {len(ends) - 1} blocks, got {len(shown.total) - 1}")
    if not isinstance(count, Integral) or not 1 <= count < len(ends) - 1:
        raise InputError(f"count must be from 1 to {len(ends) - 2} (of {len(ends) - 1} blocks), got {count}")
    first = int(np.argmin(np.diag(shown.total, count)))
    return _without(plain, ends[first], ends[first + count])


def _units(state: np.ndarray, real: np.ndarray | None, part: slice) -> np.ndarray:
    """Vectors of length 1, (rows, width), of the steps that count."""
    if not np.isfinite(state).all():
        raise InputError("hidden states must be finite, got NaN or infinity")
    counted = None if real is None else real[part]
    taken = state[counted] if counted is not None and state.shape[:-1] == counted.shape else state
    vectors = taken.reshape(-1, state.shape[-1])
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.finfo(np.float64).tiny))


def _without(model: keras.Model, begin: str, end: str) -> keras.Model:
    """The model in which what a call gives takes the place of what another does."""
    held: dict[str, Any] = {}

    def call(operation: Any, sources: tuple[str, ...], *args: Any, **kwargs: Any) -> Any:
        out = operation(*args, **kwargs)
        held[operation.name] = out
        return held[begin] if operation.name == end else out

    smaller = rebuild(model, copy, call)
    for layer in smaller.layers:
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    return smaller
