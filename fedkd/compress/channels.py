"""Which channels of a model go together, so that they can only be removed together.

A channel has a number, and every tensor's last axis is an array of them. Adding two tensors makes their channels one,
concatenating joins the arrays, flattening repeats them: so residual and concatenated paths need no rule of their own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import keras
import numpy as np
from keras import layers

from fedkd.compress.layers import CONCATENATES, FLATTENS, JOINS, KEEPS, inherited_traits, makes_channels, traits_of
from fedkd.models.graph import Node, functional, graph_of

# Activations of each number alone. In others, like softmax, one channel depends on all.
_ELEMENTWISE = {
    "linear", "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "swish", "mish", "softplus",
    "softsign", "sigmoid", "hard_sigmoid", "log_sigmoid", "tanh", "hard_tanh", "hard_silu", "hard_swish", "exponential",
}  # fmt: skip
_FIXED = 0  # the number of every channel that has to stay


@dataclass(frozen=True)
class Channels:
    """Which channels the tensors of a model hold.

    Args:
        nodes: The model's calls, inputs first.
        taken: By call, the channels of each of its inputs, int arrays over their last axes.
        given: By call, the channels of its output. Channel 0 stands for all that have to stay.
        outputs: Names of the calls that the model's outputs come from.
    """

    nodes: tuple[Node, ...]
    taken: Mapping[str, tuple[np.ndarray, ...]]
    given: Mapping[str, np.ndarray]
    outputs: frozenset[str]

    @property
    def removable(self) -> np.ndarray:
        """Numbers of the channels that may be removed, sorted."""
        found = [ids for ids in self.given.values() if len(ids)]
        return np.setdiff1d(np.unique(np.concatenate(found)), [_FIXED]) if found else np.array([], int)

    def produced(self) -> list[tuple[Node, np.ndarray]]:
        """Each call that makes removable channels with a kernel, and their numbers."""
        pairs = [(node, self.given[node.name]) for node in self.nodes if makes_channels(node.operation)]
        return [(node, ids) for node, ids in pairs if (ids != _FIXED).any()]


def channels(model: keras.Model) -> Channels:
    """Find which channels of a model go together.

    Args:
        model: Functional or Sequential. Channels that reach its outputs stay, and those of layers that aren't known.

    Raises:
        InputError: The model's graph can't be seen, or calls a layer twice.
    """
    graph, found = graph_of(functional(model)), _Numbers()
    taken: dict[str, tuple[np.ndarray, ...]] = {}
    given: dict[str, np.ndarray] = {}
    for node in graph.nodes:
        taken[node.name] = tuple(given.get(source, np.array([_FIXED])) for source in node.sources)
        given[node.name] = _through(node, taken[node.name], found)
        if node.name in graph.outputs:
            found.fix(given[node.name])
    roots = {name: tuple(map(found.roots, arrays)) for name, arrays in taken.items()}
    return Channels(graph.nodes, roots, {name: found.roots(ids) for name, ids in given.items()}, graph.outputs)


def channel_axes(node: Node, into: np.ndarray, out: np.ndarray) -> list[dict[int, np.ndarray]]:
    """For each weight of a call's layer, by axis, what is known of the channels that lie along it.

    Args:
        node: The call.
        into: What is known of each channel of its first input: its number, or whether it stays.
        out: The same of each of its output.
    """
    layer = node.operation
    kernel = inherited_traits(layer).kernel
    if kernel is not None and (makes_channels(layer) or not kernel.mixes):
        return kernel.by_axis(layer, layer.weights, into, out)
    return [{-1: out} if isinstance(layer, layers.BatchNormalization) else {} for _ in getattr(layer, "weights", ())]


class _Numbers:
    """Numbers of channels, some of which turn out to be one: a forest of parents."""

    def __init__(self) -> None:
        self._parents = [_FIXED]

    def new(self, count: int) -> np.ndarray:
        first = len(self._parents)
        self._parents.extend(range(first, first + count))
        return np.arange(first, first + count)

    def join(self, a: np.ndarray, b: np.ndarray) -> None:
        for one, other in zip(a.tolist(), b.tolist(), strict=True):
            low, high = sorted((self._root(one), self._root(other)))
            self._parents[high] = low

    def fix(self, ids: np.ndarray) -> None:
        self.join(ids, np.full(len(ids), _FIXED))

    def roots(self, ids: np.ndarray) -> np.ndarray:
        return np.array([self._root(i) for i in ids.tolist()], int)

    def _root(self, number: int) -> int:
        while self._parents[number] != number:
            number = self._parents[number]
        return number


def _through(node: Node, taken: Sequence[np.ndarray], numbers: _Numbers) -> np.ndarray:
    """Channels of a call's output."""
    layer, width = node.operation, node.shape[-1] or 0
    kernel, flow = inherited_traits(layer).kernel, traits_of(layer).channels
    last = getattr(layer, "axis", -1) in (-1, len(node.shape) - 1)
    if makes_channels(layer):
        return numbers.new(width) if node.activation in _ELEMENTWISE else np.full(width, _FIXED)
    if node.activation not in _ELEMENTWISE or not last:
        return _stay(taken, width, numbers)
    if kernel is not None and not kernel.mixes:
        return np.repeat(_wide(taken[0], width // layer.depth_multiplier), layer.depth_multiplier)
    if flow == KEEPS:
        return _wide(taken[0], width)
    # With one source the other is an array of the user's, whose shape would no longer fit.
    if flow == JOINS and len(taken) > 1 and all(len(ids) == width for ids in taken):
        for other in taken[1:]:
            numbers.join(taken[0], other)
        return taken[0]
    if flow == CONCATENATES:
        return np.concatenate([_wide(ids, shape[-1] or 0) for ids, shape in zip(taken, node.reads, strict=True)])
    if flow == FLATTENS and width % len(taken[0]) == 0:
        return np.tile(taken[0], width // len(taken[0]))
    return _stay(taken, width, numbers)


def _wide(ids: np.ndarray, width: int) -> np.ndarray:
    """Channels of an input of the model, which are known by their number alone once they meet a layer."""
    return ids if len(ids) == width else np.full(width, _FIXED)


def _stay(taken: Sequence[np.ndarray], width: int, numbers: _Numbers) -> np.ndarray:
    for ids in taken:
        numbers.fix(ids)
    return np.full(width, _FIXED)
