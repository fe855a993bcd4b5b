"""How much noise a file's integers add to what each layer of its model computes."""

import math
from pathlib import Path
from typing import TypedDict

import keras
import numpy as np

from fedkd.compress.cost import layer_macs, layer_parameters
from fedkd.compress.in_floats import in_floats
from fedkd.compress.layers import traits_of
from fedkd.edge.activations import activations
from fedkd.models.graph import Graph, Node, functional, graph_of

_EXACT = 200.0  # dB of what is equal to the last bit


class Layer(TypedDict):
    """A row of the layer table.

    Attributes:
        name: Of the layer.
        kind: Its class.
        shape: Of its output, without the batch.
        parameters: Numbers it brings to the file.
        macs: Its multiply-accumulates.
        snr_db: Signal-to-noise ratio of its output in the file, after the normalisation and ReLU fused with it; None
            where the layer has no kernel or the file no tensor of its size.
    """

    name: str
    kind: str
    shape: list[int | None]
    parameters: int
    macs: int
    snr_db: float | None


def layer_table(model: keras.Model, path: Path | None, x: np.ndarray) -> list[Layer]:
    """Compare a file with the model it was made from, layer by layer.

    The file's names for tensors are its converter's, so a layer's tensor is found by what it holds: it is the one of
    its size with the largest correlation.

    Args:
        model: Functional or Sequential, of one input and one output; a quantization-aware one counts without rounding.
        path: Its TFLite file, of any precision; None for a table without noise.
        x: Some dozens of examples (n, *input_shape), as ``fedkd.edge.runtime.predict`` takes them.

    Returns:
        A row for each layer with weights, inputs first.

    Raises:
        InputError: The model's graph can't be seen, or the file is missing, is not TFLite or can't run here.
    """
    plain = in_floats(functional(model))
    graph = graph_of(plain)
    compared = [node for node in graph.nodes if path and (layer_macs(node) or node.kind == "Embedding")]
    ends = {node.name: _fused(graph, node) for node in compared}
    wanted = {node.name: node.operation.output for nodes in ends.values() for node in nodes}
    signals = keras.Model(plain.inputs[0], wanted)(x, training=False) if wanted else {}
    held = activations(path, x) if path else []
    return [
        Layer(
            name=node.name,
            kind=node.kind,
            shape=list(node.shape[1:]),
            parameters=layer_parameters(node),
            macs=layer_macs(node),
            snr_db=_best([np.asarray(signals[end.name]) for end in ends.get(node.name, [])], held),
        )
        for node in graph.nodes
        if layer_parameters(node)
    ]


def _fused(graph: Graph, node: Node) -> list[Node]:
    """A call and those after it that its operation may include."""
    readers, found = graph.sole_readers(), [node]
    while (reader := readers.get(found[-1].name)) is not None and traits_of(reader.operation).fused:
        found.append(reader)
    return found


def _best(signals: list[np.ndarray], held: list[np.ndarray]) -> float | None:
    """Ratio in dB, for the tensor that is most like one of the signals, of that which it is."""
    flat = [signal.reshape(len(signal), -1).astype(np.float64) for signal in signals]
    alike = [max((_correlation(s, t) for s in flat if s.shape == t.shape), default=0.0) for t in held]
    if not max(alike, default=0.0):
        return None
    tensor = held[int(np.argmax(alike))]
    return max(_ratio(signal, tensor) for signal in flat if signal.shape == tensor.shape)


def _ratio(signal: np.ndarray, tensor: np.ndarray) -> float:
    power, noise = float(np.square(signal).sum()), float(np.square(signal - tensor).sum())
    if not (power and noise):
        return -_EXACT if noise else _EXACT
    return min(10 * math.log10(power / noise), _EXACT)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's, 0 where one of them is constant or they go against each other."""
    a, b = a - a.mean(dtype=np.float64), b - b.mean(dtype=np.float64)
    spread = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return max(float((a * b).sum()) / spread, 0.0) if spread else 0.0
