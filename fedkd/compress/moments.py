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
        model: Functional or Sequential, of one input.
        x: Examples (n, *input_shape); some hundreds do.
        real: bool (n, steps), which steps of each count, so that padding doesn't; all where None. Kernels whose inputs
            have no such steps count all that they read.

    Returns:
        By the layer's name, see ``DenseKernel``, sums for each dense kernel of 1,024 numbers or more.

    Raises:
        InputError: There is no example or none of its steps counts, they don't fit the model or ``real`` them, what is
            read isn't finite, or there is no such kernel or one that isn't called with what it is multiplied by.
    """
    kernels = dense_kernels(model)
    check_examples(model, x, real)
    found: dict[str, Moment] = {}
    for start in range(0, len(x), _ROWS):
        rows = slice(start, start + _ROWS)
        counted = None if real is None else real[rows]
        for name, part in _read(model, kernels, x[rows], counted):
            found[name] = found[name] + part if name in found else part
    if unread := [kernel.name for kernel in kernels if kernel.name not in found]:
        raise InputError(f"dense layers must be called in the model for moments to be taken, {unread[0]} wasn't")
    return found


def check_examples(model: keras.Model, x: np.ndarray, real: np.ndarray | None) -> None:
    """Raise InputError unless there are examples for a model's one input, and ``real`` says which of their steps count.

    Args:
        model: Functional or Sequential.
        x: Examples.
        real: bool (n, steps), or None.
    """
    if len(model.inputs) != 1:
        raise InputError(f"{model.name}: must have 1 input for its states to be looked at, got {len(model.inputs)}")
    wanted, got = tuple(model.inputs[0].shape[1:]), np.shape(x)[1:] if isinstance(x, np.ndarray) else None
    if got is None or len(got) != len(wanted) or any(n not in (None, m) for n, m in zip(wanted, got, strict=True)):
        shape = ", ".join(["n", *("any" if n is None else str(n) for n in wanted)])
        raise InputError(f"x must be an array ({shape}), as the model reads it, got {_described(x)}")
    if not len(x):
        raise InputError("x must have at least 1 row (examples that show what the model holds), got 0")
    if real is None:
        return
    if not isinstance(real, np.ndarray) or real.dtype != bool or real.shape != x.shape[:2]:
        raise InputError(f"real must be an array of x's steps, bool of shape {x.shape[:2]}, got {_described(real)}")
    if not real.any():
        raise InputError("real must have at least 1 step that counts, got none")


def _described(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {value.shape}"
    return f"a {type(value).__name__}"


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


def _read(
    model: keras.Model, kernels: list[DenseKernel], x: np.ndarray, real: np.ndarray | None
) -> Iterator[tuple[str, Moment]]:
    """The sums over a few examples, one for each call of a kernel."""
    with _watched(kernels) as calls:
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
