"""A model without some of its channels: fewer filters and units, not zeros in their place."""

from collections.abc import Mapping, Sequence

import keras
import numpy as np

from fedkd.base.errors import InputError
from fedkd.compress.channels import Channels, channel_axes, channels
from fedkd.compress.cost import places
from fedkd.compress.layers import inherited_traits, makes_channels
from fedkd.models.graph import Node, copy, functional, rebuild
from fedkd.models.inspect import is_kernel


def remove_channels(model: keras.Model, removed: Sequence[int]) -> keras.Model:
    """Return a copy of a model without some channels: it computes what the model with zeros there would.

    Zeros there means in every tensor that holds the channels: a filter of zeros may still give something after a bias
    or a sigmoid.

    Args:
        model: Not changed.
        removed: Numbers of removable channels, see ``channels``.

    Raises:
        InputError: A channel has to stay, or a layer would lose all of its channels.
    """
    plain, found = functional(model), channels(model)
    if len(bound := np.setdiff1d(removed, found.removable)):
        raise InputError(
            f"channel {bound[0]} can't be removed: no layer makes it, or an output or other layer needs it"
        )
    kept = _Kept(found, np.asarray(removed, int))

    smaller = rebuild(plain, kept.resized)
    for node in found.nodes:
        if getattr(node.operation, "weights", None):
            smaller.get_layer(node.name).set_weights(kept.weights(node))
    return smaller


def macs_without(found: Channels, removed: Sequence[int]) -> int:
    """Count the multiply-accumulates that ``cost`` would find in a model without some channels, which isn't built.

    Args:
        found: The model's channels.
        removed: Numbers of removable ones.
    """
    kept = _Kept(found, np.asarray(removed, int))
    return sum(times * kept.kernel_size(node) for node in found.nodes if (times := places(node)))


def along(weight: np.ndarray, stays: Mapping[int, np.ndarray]) -> np.ndarray:
    """Return what is left of a weight, given by axis which channels stay, bool."""
    for axis, mask in stays.items():
        weight = np.compress(mask, weight, axis=axis)
    return weight


class _Kept:
    """Layers and weights with the channels that are left."""

    def __init__(self, found: Channels, removed: np.ndarray) -> None:
        self._found, self._gone = found, removed

    def resized(self, operation: keras.Operation) -> keras.Operation:
        """A layer with as many filters or units as are left of its output."""
        if not makes_channels(operation):
            return copy(operation)
        left = int(self._stays(self._found.given[operation.name]).sum())
        if not left:
            raise InputError(f"layer {operation.name!r} would lose all of its channels; leave it one at least")
        return type(operation).from_config({**operation.get_config(), inherited_traits(operation).size: left})

    def weights(self, node: Node) -> list[np.ndarray]:
        """A layer's weights without what belongs to the channels that go."""
        out = self._stays(self._found.given[node.name])
        into = self._stays(self._found.taken[node.name][0])
        pairs = zip(node.operation.get_weights(), channel_axes(node, into, out), strict=True)
        return [along(weight, axes) for weight, axes in pairs]

    def kernel_size(self, node: Node) -> int:
        """How many numbers are left of a layer's kernels."""
        pairs = zip(node.operation.weights, self.weights(node), strict=True)
        return sum(held.size for weight, held in pairs if is_kernel(weight))

    def _stays(self, ids: np.ndarray) -> np.ndarray:
        return ~np.isin(ids, self._gone)
