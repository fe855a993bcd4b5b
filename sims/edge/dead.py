"""Layers that have died in training: they give nothing but 0, whatever they are given."""

import keras
import numpy as np

from fedkd.base.errors import InputError
from fedkd.models.graph import graph_of


def dead_layers(model: keras.Model, x: np.ndarray) -> list[str]:
    """Name the layers that give nothing but 0 for some rows, though they are given something else.

    Args:
        model: Functional; of one that calls a layer twice nothing is known.
        x: Rows (n, *input_shape), n at least 1.
    """
    try:
        nodes = graph_of(model).nodes
    except InputError:
        return []
    calls = [node for node in nodes if not isinstance(node.operation, keras.layers.InputLayer)]
    signals = keras.Model(model.inputs[0], {node.name: node.operation.output for node in calls})(x, training=False)
    silent = {name for name, signal in signals.items() if not any(map(np.any, keras.tree.flatten(signal)))}
    return [node.name for node in calls if node.name in silent and not silent.issuperset(node.sources)]
