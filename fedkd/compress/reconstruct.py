"""Channels judged and removed by what the next layer can still compute, over examples.

A layer's output is a sum over its input's channels. LASSO tells which of them it can do without, and least squares give
the kernel that makes up for those that went.

Reference:
    He, Zhang & Sun, ICCV 2017 (channel pruning for accelerating very deep neural networks), section 3.1.
"""

import warnings
from collections.abc import Iterator, Sequence

import keras
import numpy as np
from keras import layers

from fedkd.base.errors import InputError
from fedkd.compress.channels import Channels, channels
from fedkd.compress.importance import Measure, Scores, gathered
from fedkd.compress.kernels import Kernel
from fedkd.compress.layers import inherited_traits, makes_channels
from fedkd.compress.remove_channels import remove_channels
from fedkd.models.graph import Node, calls_behind, functional

_ROWS = 32  # examples whose patches are held at a time
# Directions with less of the examples' energy than this are noise of float32; the kernel isn't changed along them.
_SMALLEST = 1e-8


def lasso(model: keras.Model, x: np.ndarray) -> Measure:
    """Return the measure of importance that LASSO gives over examples.

    A channel's score is the penalty up to which the layers that read it keep it, as a share of the layer's mean.

    Args:
        model: Whose channels are measured; functional or Sequential, of one input.
        x: Examples (n, *input_shape); some dozens do.

    Reference:
        He, Zhang & Sun, ICCV 2017, eq. 2 with W fixed; the whole path of penalties instead of a search for one.
    """
    _check(x)

    def measure(found: Channels) -> Scores:
        pairs = [_entries(node, found, _inputs(model, node.name, x)) for node in _readers(found)]
        return {**dict.fromkeys(found.removable.tolist(), 0.0), **gathered(pairs)}

    return measure


def reconstructed(model: keras.Model, removed: Sequence[int], x: np.ndarray) -> keras.Model:
    """Return a copy of a model without some channels, whose next layers make up for them over examples.

    From the inputs on, each layer that loses input channels gets the kernel and bias that come closest to what it
    computed in the whole model, given what the smaller one feeds it. Where examples say nothing, weights stay.

    Args:
        model: Functional or Sequential, of one input; not changed.
        removed: Numbers of removable channels, see ``channels``.
        x: Examples (n, *input_shape); the more the better, some hundreds do.

    Raises:
        InputError: A channel has to stay, a layer would lose all of its channels, or there is no example.

    Reference:
        He, Zhang & Sun, ICCV 2017, eq. 2 with the channels fixed, and section 3.2: against the whole model's outputs.
    """
    _check(x)
    smaller, found = remove_channels(model, removed), channels(model)
    for node in _readers(found):
        if np.isin(found.taken[node.name][0], removed).any():
            kept = ~np.isin(found.given[node.name], removed)
            part = smaller.get_layer(node.name)
            _refit(node.operation, part, _inputs(model, node.name, x), _inputs(smaller, node.name, x), kept)
    return smaller


def _check(x: np.ndarray) -> None:
    if not len(x):
        raise InputError("x must have at least 1 row (examples that show what channels hold), got 0")


def _readers(found: Channels) -> list[Node]:
    """Calls that compute new channels from removable ones, inputs first."""
    return [n for n in found.nodes if makes_channels(n.operation) and found.taken[n.name][0].any()]


def _inputs(model: keras.Model, name: str, x: np.ndarray) -> np.ndarray:
    """What a layer of a model reads."""
    plain = functional(model)
    call = next(call for _, call in calls_behind(plain.outputs) if call.operation.name == name)
    until = keras.Model(plain.inputs[0], call.inputs[0])
    parts = [np.asarray(until(x[i : i + _ROWS], training=False)) for i in range(0, len(x), _ROWS)]
    return np.concatenate(parts)


def _entries(node: Node, found: Channels, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the channels a layer reads, and the penalty at which each enters the LASSO path."""
    ids, kernel = _rows_of_channels(node.operation, found.taken[node.name][0]), _matrix(node.operation)
    moment = sum(part.T @ part for part in _Patches(node.operation, x).parts())
    removable = np.setdiff1d(ids, [0])
    member = (ids == removable[:, None]).astype(np.float64)
    # The product of what channels i and j add to the outputs: the sum of W_i' P_i' P_j W_j over the layer's outputs.
    gram = member @ (moment * (kernel @ kernel.T)) @ member.T
    return removable, _path(gram / max(float(np.diag(gram).max()), np.finfo(np.float64).tiny))


def _path(gram: np.ndarray) -> np.ndarray:
    """Penalty at which each regressor enters, of those whose sum is to be reconstructed; 0 for what adds nothing."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import lars_path_gram

    with warnings.catch_warnings():
        # It says so where a channel repeats what others hold; that channel never enters, as it should.
        warnings.simplefilter("ignore", ConvergenceWarning)
        penalties, _, shares = lars_path_gram(gram.sum(1), gram, n_samples=1, method="lasso")
    first = (shares != 0).argmax(1)
    return np.where(first > 0, penalties[np.maximum(first, 1) - 1], 0.0)


def _refit(whole: layers.Layer, part: layers.Layer, x: np.ndarray, left: np.ndarray, kept: np.ndarray) -> None:
    """Move the weights of a layer that reads fewer channels so that it computes what the whole one did where kept."""
    wanted, kernel, bias = _matrix(whole)[:, kept], _matrix(part), part.use_bias
    moment, cross = 0.0, 0.0
    for before, after in zip(_Patches(whole, x).parts(), _Patches(part, left).parts(), strict=True):
        missing = before @ wanted - after @ kernel
        known = np.hstack([after, np.ones((len(after), 1))]) if bias else after
        moment, cross = moment + known.T @ known, cross + known.T @ missing
    change = np.linalg.lstsq(moment, cross, rcond=_SMALLEST)[0]
    weights = part.get_weights()
    place = _kernel(part).place
    weights[place] = (kernel + change[: len(kernel)]).reshape(weights[place].shape)
    if bias:
        weights[-1] = weights[-1] + change[-1]
    part.set_weights(weights)


class _Patches:
    """What each output of a layer is a product of, so that the layer is a matrix.

    Args:
        layer: One that makes channels.
        x: What it reads, (n, ..., channels).
    """

    def __init__(self, layer: layers.Layer, x: np.ndarray) -> None:
        self._x = x
        self._cut = None if isinstance(layer, layers.Dense) else _identity(layer, x.shape)

    def parts(self) -> Iterator[np.ndarray]:
        """Patches (places, rows of the kernel), float64, of some examples at a time."""
        for start in range(0, len(self._x), _ROWS):
            piece = self._x[start : start + _ROWS]
            cut = piece if self._cut is None else np.asarray(self._cut(piece))
            yield cut.reshape(-1, cut.shape[-1]).astype(np.float64)


def _identity(layer: layers.Layer, shape: tuple[int, ...]) -> layers.Layer:
    """The convolution that gives its own patches: strides, padding and dilation are then those of the layer."""
    weights = layer.get_weights()
    place = _kernel(layer).place
    width = _matrix(layer).shape[0]
    config = {**layer.get_config(), "filters": width, "use_bias": False, "activation": "linear"}
    cut = type(layer).from_config(config)
    cut.build(shape)
    cut.set_weights([*weights[:place], np.eye(width).reshape(*weights[place].shape[:-1], width)])
    return cut


def _kernel(layer: layers.Layer) -> Kernel:
    """How a layer that makes channels joins them."""
    kernel = inherited_traits(layer).kernel
    assert kernel is not None
    return kernel


def _matrix(layer: layers.Layer) -> np.ndarray:
    """Its kernel as (numbers of a patch, outputs), float64."""
    kernel = layer.get_weights()[_kernel(layer).place]
    return kernel.reshape(-1, kernel.shape[-1]).astype(np.float64)


def _rows_of_channels(layer: layers.Layer, taken: np.ndarray) -> np.ndarray:
    """The channel that each row of the kernel's matrix reads."""
    return _kernel(layer).rows(layer, taken, len(_matrix(layer)))
