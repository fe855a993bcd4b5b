"""The units of a Keras model: what federated dropout may leave out."""

import keras
import numpy as np

from fedkd.compress.channels import Channels, channel_axes, channels
from fedkd.exchange.sub_model import FIXED, Units
from fedkd.models.inspect import split_outputs, unfrozen


def units_of(model: keras.Model) -> Units:
    """Find which tensors of a model belong to which units, in the order of ``fedkd.models.inspect.unfrozen``.

    Those stay that the logits have, that a layer needs which isn't known, or that frozen layers read or make; what else
    a model returns doesn't count.

    Raises:
        InputError: The model's graph can't be seen, or calls a layer twice.
    """
    found = channels(keras.Model(model.inputs[0], split_outputs(model.output).logits))
    axes: dict[int, dict[int, np.ndarray]] = {}
    moves, stay = {id(weight) for weight in unfrozen(model)}, np.array([FIXED])
    for node in found.nodes:
        weights = getattr(node.operation, "weights", ())
        if weights:
            into, out = found.taken[node.name][0], found.given[node.name]
            axes |= dict(zip(map(id, weights), channel_axes(node, into, out), strict=True))
            if not moves.issuperset(map(id, weights)):
                stay = np.union1d(stay, np.union1d(into, out))
    return Units(_by_layer(found, stay), [axes.get(id(weight), {}) for weight in unfrozen(model)])


def _by_layer(found: Channels, seen: np.ndarray) -> list[np.ndarray]:
    """Numbers of the units that each layer is the first to make, but for those that were seen."""
    layers = []
    for _, numbers in found.produced():
        layers.append(np.setdiff1d(numbers, seen))
        seen = np.union1d(seen, numbers)
    return [units for units in layers if len(units)]
