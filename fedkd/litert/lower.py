"""From functions of tensors to one TFLite file of operations that LiteRT has built in."""

import functools
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from fedkd.base.built_in import tracing_built_in
from fedkd.base.errors import InputError
from fedkd.base.stderr import suppress_stderr
from fedkd.litert.convolution import CONVOLUTIONS

# TensorFlow's draws from a seed, and what the file takes in their place.
_DRAWS = {
    "StatelessRandomUniformV2": "uniform",
    "StatelessRandomNormalV2": "normal",
    "StatelessTruncatedNormalV2": "truncated_normal",
}
_NEEDS = "train.engine = 'litert' needs operations that LiteRT has built in, with gradients of such"
# Loops are made of lists, which LiteRT lacks; other draws have no argument that stands for them.
_REFUSED = r"(Stateless)?While|Stateless(Random|Truncated|Parameterized|Multinomial)(?!Get)"
_STEP = "step"
_INSTEAD = "; take another layer or optimiser, or train.engine = 'tensorflow'"


class Draw(NamedTuple):
    """Random numbers that a step wants: ``kind`` is uniform in [0, 1), normal, or truncated_normal (at 2)."""

    kind: str
    shape: tuple[int, ...]


class Lowered(NamedTuple):
    """A function without draws of its own.

    Args:
        function: Its arguments by name, then ``draw0`` and so on; its results by name.
        arguments: Of it, by name.
        draws: In the order of those arguments.
    """

    function: Callable[..., Mapping[str, Any]]
    arguments: Mapping[str, tf.TensorSpec]
    draws: tuple[Draw, ...]


def without_draws(function: Callable[..., Mapping[str, Any]], arguments: Mapping[str, tf.TensorSpec]) -> Lowered:
    """Make the random numbers that a function draws arguments of it.

    Args:
        function: Of tensors by name, returns tensors by name.
        arguments: By name, with known shapes.

    Raises:
        InputError: It draws something that can't be an argument.
    """
    named = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in arguments.items()}
    try:
        with tracing_built_in():
            traced = tf.function(lambda **given: function(**given), autograph=False).get_concrete_function(**named)
    except NotImplementedError as error:
        raise InputError(f"{_NEEDS}, got {error}{_INSTEAD}") from error
    graph = traced.graph
    drawn = [op for op in graph.get_operations() if op.type in _DRAWS]
    for op in graph.get_operations():
        if op.type not in _DRAWS and re.match(_REFUSED, op.type):
            raise InputError(f"{_NEEDS}, got {op.type} in {layer_of(op.name)}{_INSTEAD}")
    draws = tuple(Draw(_DRAWS[op.type], tuple(op.outputs[0].shape)) for op in drawn)
    inner = {f"draw{i}": tf.TensorSpec(draw.shape, tf.float32) for i, draw in enumerate(draws)}
    places = {name: f"{name}:0" for name in arguments}
    names = list(traced.structured_outputs)
    wanted = [traced.structured_outputs[name].name for name in names]
    definition = _with_products(graph)

    def again(**named: Any) -> dict[str, Any]:
        given = {places[name]: named[name] for name in arguments}
        given |= {op.outputs[0].name: named[f"draw{i}"] for i, op in enumerate(drawn)}
        found = tf.graph_util.import_graph_def(definition, given, wanted, name=_STEP)
        return dict(zip(names, found, strict=True))

    return Lowered(again, {**arguments, **inner}, draws)


def _with_products(graph: tf.Graph) -> Any:
    """The graph's definition, convolutions being calls of ``fedkd.litert.convolution``."""
    definition = graph.as_graph_def()
    for node in definition.node:
        if node.op not in CONVOLUTIONS:
            continue
        op = graph.get_operation_by_name(node.name)
        specs = [tf.TensorSpec(tensor.shape, tensor.dtype) for tensor in op.inputs]
        call = tf.function(functools.partial(CONVOLUTIONS[node.op], op), autograph=False).get_concrete_function(*specs)
        definition.library.function.append(call.function_def)
        node.op = call.function_def.signature.name
        node.attr.clear()
    return definition


def to_tflite(signatures: Mapping[str, Lowered]) -> bytes:
    """Convert functions to one file with a signature each.

    Raises:
        InputError: An operation of theirs has no counterpart in LiteRT; names it and the layer.
    """
    module = tf.Module()
    module.held = {}
    for name, lowered in signatures.items():
        specs = {key: tf.TensorSpec(spec.shape, spec.dtype, key) for key, spec in lowered.arguments.items()}
        module.held[name] = tf.function(lowered.function, autograph=False).get_concrete_function(**specs)
    with tempfile.TemporaryDirectory() as folder, suppress_stderr():
        tf.saved_model.save(
            module, folder, dict(module.held), tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        )
        converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=list(signatures))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        try:
            return converter.convert()
        except Exception as error:
            raise InputError(_refusal(str(error), [held.graph for held in module.held.values()])) from error


def _refusal(message: str, graphs: Iterable[tf.Graph]) -> str:
    """Name the operations that the converter couldn't lower, and the layers that they are of."""
    kinds = sorted(set(re.findall(r"'tf\.(\w+)' op is neither", message)))
    names = [op.name for graph in graphs for op in graph.get_operations() if op.type in kinds]
    layers = sorted({layer_of(name) for name in names})
    where = f" in {', '.join(layers[:3])}" if layers else ""
    return f"{_NEEDS}, got {', '.join(kinds) or _first_line(message)}{where}{_INSTEAD}"


def _first_line(message: str) -> str:
    return message.strip().partition("\n")[0][:200]


def layer_of(operation: str) -> str:
    """Return the layer that an operation's name begins with: ``step/gradients/LAYER/...`` is of ``LAYER``."""
    return next(part for part in operation.split("/") if part not in (_STEP, "gradients"))
