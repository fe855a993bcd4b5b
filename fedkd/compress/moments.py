"""What the inputs of a model's dense kernels are like: sums over examples, which can travel in the examples' place.

Sums of two sets of examples add up to those of both, so clients whose examples stay with them can each give theirs.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import keras
import numpy as np

from fedkd.base.errors import InputError
from fedkd.compress.dense_kernels import DenseKernel, dense_kernels

_ROWS = 64  # examples whose inputs are held at a time


@dataclass(frozen=True, eq=False)
class Moment:
    """Sums over all that a kernel has read.

    Args:
        rows: How many vectors that were.
        second: Sum of their outer products, float64 (inputs, inputs).
        magnitude: Sum of their magnitudes, float64 (inputs,).
    """

    rows: int
    second: np.ndarray
    magnitude: np.ndarray

    @property
    def unseen(self) -> np.ndarray:
        """Which inputs were 0 throughout, bool (inputs,)."""
        return np.asarray(np.diag(self.second) <= 0)

    def __add__(self, other: "Moment") -> "Moment":
        """The sums over both."""
        if self.second.shape != other.second.shape:
            raise InputError(
                f"moments must be of the same model, got kernels of {len(self.second)} and {len(other.second)} inputs"
            )
        return Moment(self.rows + other.rows, self.second + other.second, self.magnitude + other.magnitude)


Moments = Mapping[str, Moment]


def moments(model: keras.Model, x: np.ndarray, real: np.ndarray | None = None) -> Moments:
    """Sum up what the dense kernels of a model read over examples.

    Args:
        model: Of one input.
        x: Examples (n, *input_shape); some hundreds do.
        real: bool (n, steps), which steps of each count, so that padding doesn't; all where None. Kernels whose inputs
            have no such steps count all that they read.

    Returns:
        By the layer's name, see ``DenseKernel``, sums for each dense kernel of 1,024 numbers or more.

    Raises:
        InputError: There is no example, ``real`` doesn't fit, what is read isn't finite, or there is no such kernel.
    """
    check_examples(x, real)
    found: dict[str, Moment] = {}
    for start in range(0, len(x), _ROWS):
        rows = slice(start, start + _ROWS)
        counted = None if real is None else real[rows]
        for name, part in _read(model, x[rows], counted):
            found[name] = found[name] + part if name in found else part
    return found


def check_examples(x: np.ndarray, real: np.ndarray | None) -> None:
    """Raise InputError unless there are examples, and ``real`` says which of the steps of each count."""
    if not len(x):
        raise InputError("x must have at least 1 row (examples that show what the model holds), got 0")
    if real is not None and (real.dtype != bool or len(real) != len(x)):
        raise InputError(f"real must be bool ({len(x)}, steps), got {real.dtype} of shape {real.shape}")


def merged(*parts: Moments) -> Moments:
    """Add up the moments of several sets of examples, such as those of clients.

    Raises:
        InputError: There is none, or they are of different models.
    """
    if not parts:
        raise InputError("moments of at least 1 set of examples must be given, got none")
    first, *others = parts
    found = dict(first)
    for part in others:
        if set(part) != set(found):
            raise InputError(f"moments must be of the same model, got kernels {sorted(set(part) ^ set(found))} in some")
        found = {name: moment + part[name] for name, moment in found.items()}
    return found


def moment_of(found: Moments, kernel: DenseKernel) -> Moment:
    """The moment of a kernel.

    Raises:
        InputError: It isn't there, is of another size, or isn't finite.
    """
    if kernel.name not in found:
        raise InputError(f"moments must be of this model, got none of {kernel.name}; take moments(model, x)")
    held = found[kernel.name]
    if held.second.shape != (kernel.inputs,) * 2:
        raise InputError(f"moments of {kernel.name} must be of {kernel.inputs} inputs, got {len(held.second)}")
    if not np.isfinite(held.second).all():
        raise InputError(f"moments of {kernel.name} must be finite, got NaN or infinity")
    return held


def _read(model: keras.Model, x: np.ndarray, real: np.ndarray | None) -> Iterator[tuple[str, Moment]]:
    """The sums over a few examples, one for each call of a kernel."""
    with _watched(dense_kernels(model)) as calls:
        model(x, training=False)
    for kernel, tensor in calls:
        vectors = _vectors(kernel, np.asarray(tensor, np.float64), real)
        if not np.isfinite(vectors).all():
            raise InputError(f"what {kernel.name} reads must be finite, got NaN or infinity")
        yield kernel.name, Moment(len(vectors), vectors.T @ vectors, np.abs(vectors).sum(axis=0))


def _vectors(kernel: DenseKernel, x: np.ndarray, real: np.ndarray | None) -> np.ndarray:
    """What a kernel is multiplied by, (rows, inputs), without steps that don't count."""
    places = x.shape[: x.ndim - kernel.axes]
    x = x.reshape(*places, kernel.inputs)
    return x[real] if real is not None and places == real.shape else x.reshape(-1, kernel.inputs)


@contextmanager
def _watched(kernels: list[DenseKernel]) -> Iterator[list[tuple[DenseKernel, Any]]]:
    """While it holds, what kernels are called with is put into a list."""
    calls: list[tuple[DenseKernel, Any]] = []

    def watching(kernel: DenseKernel, call: Any) -> Any:
        def watch(inputs: Any, *args: Any, **kwargs: Any) -> Any:
            calls.append((kernel, inputs))
            return call(inputs, *args, **kwargs)

        return watch

    with ExitStack() as stack:
        for kernel in kernels:
            stack.enter_context(patch.object(kernel.layer, "call", watching(kernel, kernel.layer.call)))
        yield calls
