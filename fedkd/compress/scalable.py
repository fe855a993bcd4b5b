"""Where a model's dense kernels read channels that what comes before can scale, so that no operation is added.

A channel that is divided before and multiplied by the kernel's row is what it was: behind a normalisation, whose scale
and shift take it in; behind a dense layer with a ReLU or none; and between the values of attention and its output.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from fedkd.compress.dense_kernels import DenseKernel, all_dense_kernels
from fedkd.models.graph import Node, calls_behind, graph_of
from fedkd.models.transformer import IntegerFriendlyNorm, SelfAttention

_ATTENTION = (SelfAttention, layers.MultiHeadAttention)


@dataclass(frozen=True, eq=False)
class Scalable:
    """Channels that some kernels read, and nothing else.

    Args:
        given: Weights that make them: each is a scale, a shift, a bias or a kernel whose last axes are the channels.
        readers: The kernels, of as many inputs as there are channels.
    """

    given: tuple[keras.Variable, ...]
    readers: tuple[DenseKernel, ...]

    def scale(self, by: np.ndarray) -> None:
        """Multiply the rows of the kernels, and divide the channels before them, by as many numbers above 0."""
        for kernel in self.readers:
            kernel.assign(kernel.matrix() * by[:, None])
        for weight in self.given:
            held = np.asarray(weight, np.float64)
            weight.assign((held.reshape(-1, len(by)) / by).reshape(held.shape).astype(np.float32))


def scalable(model: keras.Model) -> list[Scalable]:
    """Find them, inputs first; those of which a kernel is worth fewer bits.

    Args:
        model: Functional, see ``fedkd.models.graph.functional``.

    Raises:
        InputError: The model's graph can't be seen, or calls a layer twice.
    """
    graph = graph_of(model)
    readers, read = graph.sole_readers(), {id(tensor) for tensor, _ in calls_behind(model.outputs)}
    known = {id(kernel.layer): kernel for kernel in all_dense_kernels(model)}
    found = []
    for node in graph.nodes:
        for channels, given, dense in (*_through(node, readers), *_values(node.operation, read)):
            kernels = tuple(known[id(layer)] for layer in dense if id(layer) in known)
            fit = len(kernels) == len(dense) and {kernel.inputs for kernel in kernels} == {channels}
            if fit and given and any(kernel.worth for kernel in kernels):
                found.append(Scalable(given, kernels))
    return found


_Place = tuple[int | None, tuple[keras.Variable, ...], tuple[Any, ...]]


def _through(node: Node, readers: Mapping[str, Node]) -> Iterator[_Place]:
    """How many channels a call gives, the weights that make them, and the dense layers that alone read them."""
    reader = readers.get(node.name)
    while reader and _passes(reader.operation):
        reader = readers.get(reader.name)
    if reader:
        yield node.shape[-1], _given(node), _dense_layers(reader)


def _values(layer: Any, read: set[int]) -> Iterator[_Place]:
    """The same of an attention's values, of which its output is a sum; not where the model gives them away, too."""
    if type(layer) not in _ATTENTION:
        return
    given = layer.output if isinstance(layer.output, list | tuple) else [layer.output]
    if not any(id(tensor) in read for tensor in given[2:]):
        weights = tuple(layer.value_dense.weights)
        yield int(np.prod(weights[0].shape[1:])), weights, (layer.output_dense,)


def _given(node: Node) -> tuple[keras.Variable, ...]:
    """The weights whose last axis is the channels that a call gives; none where scales would change anything else."""
    layer = node.operation
    if type(layer) is IntegerFriendlyNorm:
        return layer.gamma, layer.beta
    if type(layer) is layers.LayerNormalization and list(np.ravel(layer.axis)) in ([-1], [len(node.shape) - 1]):
        return (layer.gamma, *([layer.beta] if layer.center else [])) if layer.scale else ()
    if type(layer) is layers.Dense and node.activation in ("linear", "relu"):
        return tuple(layer.weights)
    return ()


def _passes(operation: Any) -> bool:
    """Whether it gives s f(x) for s x, for any s above 0 and each channel alone."""
    if type(operation) is layers.ReLU:
        return operation.max_value is None and not operation.threshold
    return type(operation) in (layers.Dropout, layers.Identity) or type(operation).__name__ in ("Relu", "LeakyReLU")


def _dense_layers(reader: Node) -> tuple[Any, ...]:
    """The dense layers by which a call reads channels; of attention none where they aren't all that it reads."""
    layer = reader.operation
    if not isinstance(layer, layers.MultiHeadAttention):
        return (layer,)
    alone = len(set(reader.sources)) == 1  # a mask would be one more, and could be another query
    if type(layer) is SelfAttention or (type(layer) is layers.MultiHeadAttention and alone):
        return layer.query_dense, layer.key_dense, layer.value_dense
    return ()
