"""What feeds what in a functional Keras model, and its copies with other layers."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras

from fedkd.base.errors import InputError
from fedkd.base.keras_internals import Call, call_behind, run_graph

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

    def __call__(self, x: keras.KerasTensor, training: bool | None = None, mask: Any = None) -> keras.KerasTensor:
        """Call each part on what the one before returned, and say whether to train to those that ask for it.

        Keras finds the mask by the tensor.
        """
        for part in self.parts:
            x = part(x, training=training) if _trains(part) else part(x)
        return x


def functional(model: keras.Model) -> keras.Model:
    """Return the model as a functional one, with the same layers; those of models inside it take these models' places.

    Raises:
        InputError: Its class has a ``call`` of its own, whose graph can't be seen, or it has no input yet; or a model
            inside it has a layer of a name that is another's, too, or is called in a way that can't be followed.
    """
    if isinstance(model, keras.Sequential) and not model.built:
        raise InputError(f"{model.name}: a Sequential must start with keras.Input, got one without")
    if not _has_graph(model):
        raise InputError(f"the model must be functional or Sequential, got {type(model).__name__} with its own call")
    model = _without_sequence(model)
    if not any(map(_has_graph, model.operations)):
        return model
    _check_names(model)
    outputs = run_graph(model, model.inputs, _opened)
    return keras.Model(model.input, outputs, name=model.name)


def _has_graph(operation: Any) -> bool:
    """Whether it is a model whose calls can be seen."""
    kinds = type(operation).__mro__
    own_call = any("call" in vars(kind) for kind in kinds if not kind.__module__.startswith("keras."))
    seen = hasattr(operation, "operations") or (isinstance(operation, keras.Sequential) and operation.built)
    return isinstance(operation, keras.Model) and not own_call and seen


def _without_sequence(model: keras.Model) -> keras.Model:
    """A Sequential as a functional model."""
    if not isinstance(model, keras.Sequential):
        return model
    return keras.Model(model.inputs[0], model.outputs[0], name=model.name)


def _opened(operation: keras.Operation, *args: Any, **kwargs: Any) -> Any:
    """Make a call; of a model, the calls in it, which train or don't as it was told to."""
    if not _has_graph(operation):
        return operation(*args, **kwargs)
    training = {name: value for name, value in kwargs.items() if name == "training" and value is not None}

    def call(inside: Any, *arguments: Any, **named: Any) -> Any:
        return _opened(inside, *arguments, **(named | training if _trains(inside) else named))

    return run_graph(_without_sequence(operation), _entering(operation, args, kwargs), call)


def _trains(operation: Any) -> bool:
    """Whether an operation's call asks whether to train."""
    return isinstance(operation, keras.layers.Layer) and "training" in inspect.signature(operation.call).parameters


def _entering(model: keras.Model, args: Any, kwargs: Any) -> list[keras.KerasTensor]:
    """What a model inside another is called with, in the dtypes of its inputs."""
    given, wanted = _tensors(args), model.inputs
    known = set(kwargs) <= {"training", "mask"} and kwargs.get("mask") is None and not isinstance(args[0], dict)
    if not known or len(args) > 1 or [len(x.shape) for x in given] != [len(x.shape) for x in wanted]:
        raise InputError(
            f"model {model.name!r} must be called with one tensor for each of its inputs, of the same axes, and without"
            " a mask; call it so, or give its layers to the model around it"
        )
    pairs = zip(given, wanted, strict=True)
    return [x if x.dtype == own.dtype else keras.ops.cast(x, own.dtype) for x, own in pairs]


def _check_names(model: keras.Model) -> None:
    """Raise InputError where two layers would have one name."""
    found: dict[str, keras.Operation] = {}
    waiting: list[Any] = list(model.operations)
    while waiting:
        operation = waiting.pop()
        if _has_graph(operation):
            inside = _without_sequence(operation).operations
            waiting += [each for each in inside if not isinstance(each, keras.layers.InputLayer)]
        elif found.setdefault(operation.name, operation) is not operation:
            raise InputError(
                f"{model.name}: layers of models inside it must have names of their own, got two of {operation.name!r};"
                " name one otherwise"
            )


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
    """An operation of the same class and settings, with weights of its own.

    Raises:
        InputError: Its class doesn't take its settings.
    """
    try:
        return type(operation).from_config(operation.get_config())
    except (TypeError, NotImplementedError):
        kind = type(operation).__name__
        raise InputError(
            f"layer {operation.name!r} must be one that its settings make again; have {kind}.get_config() return all"
            f" that {kind}() takes, and {kind}() take Keras' own (name, dtype, trainable), too"
        ) from None


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


def calls_behind(
    tensors: Sequence[keras.KerasTensor], beyond: Callable[[Any], bool] = lambda _: True
) -> Iterator[tuple[keras.KerasTensor, Call]]:
    """Walk back from some symbolic tensors to the inputs they are made of.

    Args:
        tensors: Where to start.
        beyond: Tells of an operation whether to go on behind it.

    Yields:
        Each tensor on the way, the first ones included, and the call that made it.
    """
    waiting, seen = list(tensors), set[int]()
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        call = call_behind(tensor)
        yield tensor, call
        if beyond(call.operation):
            waiting += call.inputs


def _tensors(*values: Any) -> list[keras.KerasTensor]:
    return [tensor for tensor in keras.tree.flatten(values) if isinstance(tensor, keras.KerasTensor)]
