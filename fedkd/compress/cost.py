"""What a model costs a device: multiplications and parameters."""

import math
from typing import NamedTuple

import keras

from fedkd.compress.fake_quant import ActivationRange
from fedkd.compress.layers import INPUT, NOTHING, inherited_traits
from fedkd.models.graph import Node, functional, graph_of
from fedkd.models.inspect import is_kernel

_FOLDED = ("moving_mean", "moving_variance")  # statistics of normalisations


class Cost(NamedTuple):
    """Of one inference.

    Args:
        macs: Multiply-accumulates of convolutions and dense layers.
        parameters: Numbers in the file, but for statistics that are folded into kernels.
        uncounted: Layers with kernels whose multiply-accumulates aren't in ``macs``, such as attention.
    """

    macs: int
    parameters: int
    uncounted: tuple[str, ...] = ()


def cost(model: keras.Model) -> Cost:
    """Count the multiply-accumulates and parameters of a model.

    Raises:
        InputError: The model's graph can't be seen, or calls a layer twice.
    """
    nodes = graph_of(functional(model)).nodes
    uncounted = tuple(node.name for node in nodes if not inherited_traits(node.operation).macs and _kernels(node))
    return Cost(sum(map(layer_macs, nodes)), sum(map(layer_parameters, nodes)), uncounted)


def layer_macs(node: Node) -> int:
    """Multiply-accumulates of one call, 0 for layers that aren't counted.

    Each number of a kernel meets each place of the output once, a separable convolution's depthwise half included: its
    pointwise half keeps the places. A transposed convolution's meets each place of the input.
    """
    return places(node) * sum(math.prod(kernel.shape) for kernel in _kernels(node))


def places(node: Node) -> int:
    """How often each number of a call's kernels is multiplied, 0 for layers that aren't counted."""
    counted = inherited_traits(node.operation).macs
    if counted in ("", NOTHING):
        return 0
    shape = node.reads[0] if counted == INPUT else node.shape
    return math.prod(size or 1 for size in shape[1:-1])


def layer_parameters(node: Node) -> int:
    """Numbers that a call's layer brings to the file."""
    layer = node.operation
    if isinstance(layer, ActivationRange):
        return 0
    held = getattr(layer, "weights", ())
    return sum(math.prod(weight.shape) for weight in held if weight.name not in _FOLDED)


def _kernels(node: Node) -> list[keras.Variable]:
    return [weight for weight in getattr(node.operation, "weights", ()) if is_kernel(weight)]
