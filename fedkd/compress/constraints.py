"""Kernels that stay as they were made, zeros or few different values, while Keras trains them.

Keras applies a variable's constraint after each step of any optimiser, so ``model.fit`` needs nothing else. A saved
model is an ordinary one; the constraints are of the model in memory.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
from keras import ops

from fedkd.base.errors import InputError
from fedkd.compress.cluster import Clustered, cluster
from fedkd.compress.filterlets import prune_filterlets
from fedkd.compress.prune import polynomial_sparsity, prune, prune_together
from fedkd.models.inspect import is_kernel


class Zeros(keras.constraints.Constraint):
    """Keeps a kernel's zeros.

    Args:
        kernel: Whose zeros stay.
    """

    def __init__(self, kernel: np.ndarray) -> None:
        # A variable, so that a compiled training step sees the zeros that come later.
        self._mask = keras.Variable(kernel != 0, trainable=False, dtype="float32")

    def follow(self, kernel: np.ndarray) -> None:
        """Keep another kernel's zeros from now on."""
        self._mask.assign(kernel != 0)

    def __call__(self, w: Any) -> Any:
        """Return w with the zeros back in their places."""
        return w * self._mask


class Shared(keras.constraints.Constraint):
    """Keeps the values of each of a kernel's clusters one: their mean, which moves as training moves them.

    This is straight-through fine-tuning: the model computes with the codebook's values alone, each weight takes the
    gradient as if it weren't shared, and the centres follow. Which weights share a centre stays as k-means found it.

    Args:
        clustered: Which weights share a value.

    Reference:
        Han, Mao & Dally, ICLR 2016, section 3 (there the sum of the gradients, here with optimisers of any kind).
    """

    def __init__(self, clustered: Clustered) -> None:
        self._indices = clustered.indices.ravel().astype(np.int32)
        self._counts = np.maximum(np.bincount(self._indices, minlength=len(clustered.codebook)), 1).astype(np.float64)

    def __call__(self, w: Any) -> Any:
        """Return w with each weight at the mean of its cluster."""
        # In float64, or the means of large clusters would move without any gradient.
        flat = ops.cast(ops.reshape(w, (-1,)), "float64")
        means = ops.segment_sum(flat, self._indices, num_segments=len(self._counts)) / self._counts
        return ops.reshape(ops.cast(ops.take(means, self._indices), w.dtype), ops.shape(w))


def kernels(model: keras.Model) -> list[keras.Variable]:
    """Trainable kernels and tables: what pruning and clustering apply to."""
    return [weight for weight in model.trainable_weights if is_kernel(weight)]


def keep_sparse(model: keras.Model, sparsity: float, together: bool = False) -> None:
    """Set the smallest weights of a model's kernels to zero, and keep them there while it trains.

    Args:
        model: Changed in place. Call it again with a higher sparsity to prune step by step.
        sparsity: Share of zeros, in [0, 1). Weights that are zero already count as pruned.
        together: Rank the weights of all kernels together instead of each kernel's.

    Raises:
        InputError: ``sparsity`` is outside [0, 1), or a kernel has another constraint.
    """
    _hold_pruned(model, partial(prune_together if together else prune, sparsity=sparsity))


def keep_filterlets(model: keras.Model, sparsity: float, together: bool = False) -> None:
    """Set the least important filterlets of a model's kernels to zero, and keep them there while it trains.

    Args:
        model: Changed in place. Call it again with a higher sparsity to prune step by step.
        sparsity: Share of zeros at the most, in [0, 1).
        together: Rank the filterlets of all kernels together instead of each kernel's.

    Raises:
        InputError: ``sparsity`` is outside [0, 1), or a kernel has another constraint.

    Reference:
        Han, Xiao & Li, INFOCOM 2024, see ``fedkd.compress.filterlets``.
    """
    _hold_pruned(model, partial(prune_filterlets, sparsity=sparsity, together=together))


def _hold_pruned(model: keras.Model, choose: Callable[[list[np.ndarray]], list[np.ndarray]]) -> None:
    """Give kernels the zeros that a rule chooses, and keep them."""
    held = _free(kernels(model), Zeros)
    for weight, pruned in zip(held, choose([np.asarray(w) for w in held]), strict=True):
        weight.assign(pruned)
        if isinstance(weight.constraint, Zeros):
            weight.constraint.follow(pruned)
        else:
            _hold(model, weight, Zeros(pruned))


def rewind(model: keras.Model, weights: Sequence[np.ndarray]) -> None:
    """Give a pruned model the weights it began with, but for its zeros: the ticket of the lottery.

    Args:
        model: After ``keep_sparse``; changed in place.
        weights: All of the model's weights as they were before training.

    Raises:
        InputError: They are those of another model.

    Reference:
        Frankle & Carbin, ICLR 2019, section 1; Frankle et al., ICML 2020, for weights of an early step.
    """
    expected, given = [tuple(w.shape) for w in model.weights], [np.shape(w) for w in weights]
    if expected != given:
        raise InputError(f"weights must be all of the model's, of the same shapes: {len(expected)}, got {len(given)}")
    for weight, value in zip(model.weights, weights, strict=True):
        weight.assign(weight.constraint(value) if isinstance(weight.constraint, Zeros) else value)


class GradualPruning(keras.callbacks.Callback):
    """Prunes a model at the start of each epoch, steeply at first, while ``fit`` trains it.

    Args:
        sparsity: Share of zeros from the last of ``epochs`` on, in [0, 1).
        epochs: Until then, at least 1.
        together: Rank the weights of all kernels together instead of each kernel's.
        hold: What prunes: ``keep_sparse`` single weights, ``keep_filterlets`` filterlets.

    Reference:
        Zhu & Gupta 2017, eq. 1, see ``fedkd.compress.prune``.
    """

    def __init__(
        self,
        sparsity: float,
        epochs: int,
        together: bool = False,
        hold: Callable[[keras.Model, float, bool], None] = keep_sparse,
    ) -> None:
        super().__init__()
        if epochs < 1:
            raise InputError(f"epochs must be at least 1, got {epochs}")
        self._sparsity = partial(polynomial_sparsity, steps=epochs, final=sparsity)
        self._together, self._hold = together, hold
        self._sparsity(0)  # checks the sparsity

    def on_train_begin(self, logs: object = None) -> None:
        """Have the training step compiled with the zeros in it."""
        self._hold(self.model, 0.0, self._together)
        self.model.make_train_function(force=True)

    def on_epoch_begin(self, epoch: int, logs: object = None) -> None:
        """Prune to the epoch's sparsity."""
        self._hold(self.model, self._sparsity(epoch + 1), self._together)


def keep_clusters(model: keras.Model, bits: int | Mapping[str, int]) -> Mapping[str, Clustered]:
    """Give each kernel of a model 2^bits different values, and keep it so while it trains.

    Args:
        model: Changed in place. Its int8 file keeps the values where a kernel has one scale: take a ``folded`` model,
            made ``quantize_aware(..., per_tensor=True)`` if at all, and convert it to ``int8_per_tensor``.
        bits: 2 to 8, for all kernels or by the path of some; others stay as they are.

    Returns:
        By the kernel's path, its clusters before training.

    Raises:
        InputError: ``bits`` is out of range or names no kernel, or a kernel isn't finite or has another constraint.
    """
    wanted = _bits_of(model, bits)
    chosen = _free([weight for weight in kernels(model) if weight.path in wanted], Shared)
    found = {weight.path: cluster(np.asarray(weight), wanted[weight.path]) for weight in chosen}
    for weight in chosen:
        weight.assign(found[weight.path].dense())
        _hold(model, weight, Shared(found[weight.path]))
    return found


def _bits_of(model: keras.Model, bits: int | Mapping[str, int]) -> Mapping[str, int]:
    """Bits by the kernel's path."""
    paths = [weight.path for weight in kernels(model)]
    if not isinstance(bits, Mapping):
        return dict.fromkeys(paths, bits)
    if unknown := set(bits) - set(paths):
        raise InputError(f"bits must be for kernels of the model, one of {', '.join(paths)}, got {min(unknown)!r}")
    return bits


def _free(held: list[keras.Variable], own: type) -> list[keras.Variable]:
    """Kernels, if nothing but a constraint of its own kind holds them."""
    for weight in held:
        if not isinstance(weight.constraint, own | None):
            name = type(weight.constraint).__name__
            raise InputError(f"{weight.path} must have no constraint of another kind, got {name}")
    return held


def _hold(model: keras.Model, weight: keras.Variable, constraint: keras.constraints.Constraint) -> None:
    weight.constraint = constraint
    model.train_function = None  # a training step that was compiled before doesn't know of it


def codebook_bytes(model: keras.Model, bits: int | Mapping[str, int]) -> int:
    """Bytes of a model whose kernels are codebooks of float32 and indices of ``bits``, and all else float32.

    Args:
        model: After ``keep_clusters``.
        bits: What that was given.

    Raises:
        InputError: A kernel has more than 2^bits values, or ``bits`` names none of the model's.
    """
    wanted, total = _bits_of(model, bits), 0
    for weight in model.weights:
        array = np.asarray(weight)
        if weight.path not in wanted:
            total += array.nbytes
            continue
        width, values = wanted[weight.path], len(np.unique(array))
        if values > 2**width:
            raise InputError(f"{weight.path} must have at most {2**width} values for {width} bits, got {values}")
        total += 4 * 2**width + -(-array.size * width // 8)
    return total
