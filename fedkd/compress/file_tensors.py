"""Which of a model's tensors are tensors of its int8 file: what TFLite computes as one operation has one scale."""

from keras import layers

from fedkd.base.errors import InputError
from fedkd.compress.fake_quant import ActivationRange
from fedkd.compress.fold import folds
from fedkd.compress.layers import NEW, traits_of
from fedkd.models.graph import Graph, Node

# From int8 to int8 with scales that TFLite fixes.
_FIXED_SCALE = {"softmax", "sigmoid", "tanh"}
FUSED = {"linear", "relu", "relu6"}


class Calls:
    """What TFLite makes of a model's calls.

    Args:
        graph: Of the model.

    Raises:
        InputError: The model is quantization-aware.
    """

    def __init__(self, graph: Graph) -> None:
        self._nodes = {node.name: node for node in graph.nodes}
        self._sole_reader, self._folds = graph.sole_readers(), folds(graph)
        for node in graph.nodes:
            _check(node)

    def end_in_a_tensor(self, name: str) -> bool:
        """Whether a call's output is a tensor of the file with a scale of its own."""
        node, reader = self._nodes[name], self._sole_reader.get(name)
        traits = traits_of(node.operation)
        known = traits.rounded or traits.scale == NEW or node.kind == "Activation"
        if not known or node.activation in _FIXED_SCALE:
            return False
        return reader is None or not (reader.kind == "Concatenate" or self._fused(node, reader))

    def joined(self) -> dict[str, str]:
        """Names of the normalisations that dense layers take in, which round what both come to, and of these layers.

        The kernel of a convolution has a scale a filter, so that a normalisation behind it only moves its steps.
        """
        nodes = self._nodes
        folded = {norm: name for norm, name in self._folds.items() if self._folded(nodes[norm])}
        return {norm: name for norm, name in folded.items() if not traits_of(nodes[name].operation).per_filter}

    def ceiling(self, name: str) -> float | None:
        """Where a ReLU cuts that isn't TFLite's and whose range does so; None of all else."""
        layer = self._nodes[name].operation
        own = isinstance(layer, layers.ReLU) and layer.max_value not in (None, 6)
        return float(layer.max_value) if own and self._is_relu(self._nodes[name]) else None

    def skipped(self) -> dict[str, str]:
        """Why the scales of some layers aren't learned."""
        reasons = {name: self._reason(node) for name, node in self._nodes.items()}
        return {name: reason for name, reason in reasons.items() if reason}

    def _reason(self, node: Node) -> str:
        layer, traits = node.operation, traits_of(node.operation)
        if getattr(layer, "weights", ()) and layer.compute_dtype != "float32":
            return f"it computes in {layer.compute_dtype}"
        if node.kind == "BatchNormalization" and not self._folded(node):
            if node.name in self._folds:
                return f"it becomes part of {self._folds[node.name]}, whose rounding isn't seen"
            return "it follows no convolution or dense layer that it could be folded into"
        if isinstance(layer, layers.ReLU) and not (self._is_relu(node) or _is_leaky(layer)):
            return "its ceiling or threshold takes operations of its own"
        if traits.pairwise and len(node.sources) != 2:
            return f"{node.kind} of {len(node.sources)} tensors takes several operations, or a constant"
        if traits.rounded or node.kind == "Activation":
            known = node.activation in FUSED | _FIXED_SCALE
            return "" if known else f"activation {node.activation!r} takes operations of its own"
        return "" if traits.scale else f"no recipe for {node.kind}"

    def _fused(self, node: Node, reader: Node) -> bool:
        """Whether TFLite computes both in one operation, so that nothing is rounded between them."""
        if reader.kind == "BatchNormalization":
            return self._folded(reader)
        traits = traits_of(node.operation)
        before = traits.rounded and node.activation == "linear"
        before = before or traits.pairwise or (node.kind == "BatchNormalization" and self._folded(node))
        return before and self._is_relu(reader)

    def _is_relu(self, node: Node) -> bool:
        """Whether TFLite has it as the end of another operation: nothing below 0, and up to infinity, 6 or its range.

        What is concatenated has the range of all.
        """
        layer, reader = node.operation, self._sole_reader.get(node.name)
        if isinstance(layer, layers.ReLU):
            known = layer.max_value in (None, 6) or reader is None or reader.kind != "Concatenate"
            return known and not layer.negative_slope and not layer.threshold
        return traits_of(layer).relu or (node.kind == "Activation" and node.activation in ("relu", "relu6"))

    def _folded(self, norm: Node) -> bool:
        """Whether a normalisation becomes part of the layer before it."""
        return norm.name in self._folds and traits_of(self._nodes[self._folds[norm.name]].operation).rounded


def _check(node: Node) -> None:
    """Raise InputError on a call for which no rounding makes sense."""
    if isinstance(node.operation, ActivationRange):
        raise InputError(f"the model is quantization-aware already: it has the range {node.name!r}")


def _is_leaky(layer: layers.ReLU) -> bool:
    """Whether TFLite has it as one operation, though not as the end of another."""
    return layer.max_value is None and not layer.threshold
