"""What feeds what in a functional Keras model, and its copies with other layers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras

from fedkd.base.errors import InputError

INPUT = ""  # stands among a node's sources for an input of the model

Shape = tuple[int | None, ...]


@dataclass(frozen=True)
class Node:
    """One call of a layer, or of a plain operation such as those of ``keras.ops``.

    Args:
        operation: The model's own.
        sources: Names of the operations whose outputs it takes, in the order of its arguments; INPUT for the model's.
        reads: Shapes of these outputs; a shape's first entry is the batch.
        shape: Shape of its own (first) output.
    """

    operation: keras.Operation
    sources: tuple[str, ...]
    reads: tuple[Shape, ...]
    shape: Shape

    @property
    def name(self) -> str:
        """Unique in the model."""
        return str(self.operation.name)

    @property
    def kind(self) -> str:
        """Name of the operation's class: that of layers.Add is that of the operation behind ``x + y``."""
        return type(self.operation).__name__

    @property
    def activation(self) -> str:
        """Name of the layer's activation, see ``activation_name``."""
        return activation_name(self.operation)


class Graph(NamedTuple):
    """The calls of a model, inputs first, and the names of those that its outputs come from."""

    nodes: tuple[Node, ...]
    outputs: frozenset[str]

    def sole_readers(self) -> dict[str, Node]:
        """By call, the one that alone reads its output; a call that others read too, or the model's user, has none."""
        readers: dict[str, list[Node]] = {}
        for node in self.nodes:
            for source in dict.fromkeys(node.sources):
                readers.setdefault(source, []).append(node)
        used = {*self.outputs, INPUT}
        return {name: nodes[0] for name, nodes in readers.items() if len(nodes) == 1 and name not in used}


class Chain:
    """Several layers in the place of one.

    Args:
        name: Name of the layer that it replaces.
        parts: The layers, in the order of their calls.
    """

    def __init__(self, name: str, parts: Sequence[keras.layers.Layer]) -> None:
        self.name, self.parts = name, parts

    def __call__(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Call each part on what the one before returned."""
        for part in self.parts:
            x = part(x)
        return x


def functional(model: keras.Model) -> keras.Model:
    """Return the model as a functional one, with the same layers.

    Raises:
        InputError: Its class has a ``call`` of its own, whose graph can't be seen, or it has no input yet.
    """
    if isinstance(model, keras.Sequential):
        if not model.built:
            raise InputError(f"{model.name}: a Sequential must start with keras.Input, got one without")
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    own_call = any("call" in vars(kind) for kind in type(model).__mro__ if not kind.__module__.startswith("keras."))
    if own_call or not hasattr(model, "operations"):
        raise InputError(f"the model must be functional or Sequential, got {type(model).__name__} with its own call")
    return model


def graph_of(model: keras.Model, make: Callable[[keras.Operation], keras.Operation] | None = None) -> Graph:
    """Find the calls of a functional model, by calling what ``make`` returns for each operation: by default, a copy.

    Raises:
        InputError: A layer is called twice, so that what suits one call may not suit the other, or has its channels
            first, which no TFLite kernel has.
    """
    own = {operation.name: operation for operation in model.operations}
    found: dict[str, Node] = {}

    def call(operation: keras.Operation, sources: tuple[str, ...], *args: Any, **kwargs: Any) -> Any:
        if operation.name in found:
            raise InputError(f"layer {operation.name!r} is called twice; give each call a layer of its own")
        if getattr(operation, "data_format", None) == "channels_first":
            raise InputError(f"layer {operation.name!r} must have data_format 'channels_last', got 'channels_first'")
        out = operation(*args, **kwargs)
        reads = tuple(tuple(tensor.shape) for tensor in _tensors(args, kwargs))
        shape = tuple(_tensors(out)[0].shape)
        found[operation.name] = Node(own[operation.name], sources, reads, shape)
        return out

    _, ends = _rebuilt(model, make or copy, call, lambda tensor: tensor)
    return Graph(tuple(found.values()), ends)


def plainly(operation: Any, sources: tuple[str, ...], *args: Any, **kwargs: Any) -> Any:
    """Make a call as it was."""
    return operation(*args, **kwargs)


def rebuild(
    model: keras.Model,
    make: Callable[[keras.Operation], Any],
    call: Callable[..., Any] = plainly,
    enter: Callable[[keras.KerasTensor], keras.KerasTensor] = lambda tensor: tensor,
) -> keras.Model:
    """Build a functional model again, call by call.

    Args:
        model: Not changed.
        make: Returns the new operation, or a chain of layers, for one of the model's.
        call: Makes each call: given what ``make`` returned, its sources and its arguments, it returns what takes the
            place of the call's output.
        enter: What takes the place of an input.

    Returns:
        The new model, with initial weights.
    """
    return _rebuilt(model, make, call, enter)[0]


def activation_name(operation: keras.Operation) -> str:
    """Name of a layer's activation function, or of its class where it is a layer; ``linear`` where there is none."""
    function = getattr(operation, "activation", None)
    return "linear" if function is None else str(getattr(function, "__name__", type(function).__name__))


def copy(operation: keras.Operation) -> keras.Operation:
    """An operation of the same class and settings, with weights of its own."""
    return type(operation).from_config(operation.get_config())


def _rebuilt(
    model: keras.Model, make: Callable[..., Any], call: Callable[..., Any], enter: Callable[..., Any]
) -> tuple[keras.Model, frozenset[str]]:
    """The new model, and the names of the operations that its outputs come from."""
    source: dict[int, str] = {}
    entered: dict[int, keras.KerasTensor] = {}
    alive: list[Any] = []  # tensors that are kept, so that no two have one id

    def arrive(value: Any) -> Any:
        if not isinstance(value, keras.KerasTensor) or id(value) in source:
            return value
        if id(value) not in entered:
            entered[id(value)] = enter(value)
            alive.append(value)
        return entered[id(value)]

    def wrapped(operation: Any, *args: Any, **kwargs: Any) -> Any:
        sources = tuple(source.get(id(tensor), INPUT) for tensor in _tensors(args, kwargs))
        args, kwargs = keras.tree.map_structure(arrive, (args, kwargs))
        out = call(operation, sources, *args, **kwargs)
        for tensor in _tensors(out):
            source[id(tensor)] = operation.name
            alive.append(tensor)
        return out

    new = keras.models.clone_model(model, clone_function=make, call_function=wrapped)
    return new, frozenset(source.get(id(tensor), INPUT) for tensor in new.outputs)


def _tensors(*values: Any) -> list[keras.KerasTensor]:
    return [tensor for tensor in keras.tree.flatten(values) if isinstance(tensor, keras.KerasTensor)]
