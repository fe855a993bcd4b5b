"""The private names of Keras that are used, all of them: Keras may change them in any release.

``pyproject.toml`` bounds Keras by the releases in which they have been tried.
"""

import random
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import MethodType
from typing import Any, NamedTuple
from unittest.mock import patch

import keras
from keras.src.random import seed_generator

_building = threading.RLock()


@contextmanager
def layers_seeded(seed: int) -> Iterator[None]:
    """While it holds, the layers that are made draw their seeds from a generator of their own.

    Keras takes them from Python's own generator, which all threads share: Flower's heartbeat draws from it too. What
    is put in its place is Keras' for all threads, so one thread at a time may hold this, and others wait.
    """
    with _building, patch.object(seed_generator, "python_random", random.Random(seed)):
        keras.utils.set_random_seed(seed)
        yield


class Call(NamedTuple):
    """The call of a layer or operation that a symbolic tensor comes from, and the tensors it was called with."""

    operation: keras.Operation
    inputs: Sequence[keras.KerasTensor]


def call_behind(tensor: keras.KerasTensor) -> Call:
    """Return the call that made a symbolic tensor; an input of a model was called with none."""
    operation, call, _ = tensor._keras_history
    return Call(operation, operation._inbound_nodes[call].input_tensors)


def given_to(layer: keras.layers.Layer) -> list[keras.KerasTensor]:
    """Return the first symbolic tensor of each of a layer's calls."""
    return [node.input_tensors[0] for node in layer._inbound_nodes]


def run_graph(model: keras.Model, inputs: Sequence[keras.KerasTensor], call: Callable[..., Any]) -> Any:
    """Make the calls of a functional model again.

    Args:
        model: Its operations are called as they are.
        inputs: What takes the place of its inputs.
        call: Makes each call, given the operation and its arguments.

    Returns:
        What takes the place of its outputs, in their structure.
    """
    return model._run_through_graph(inputs, operation_fn=lambda operation: operation, call_fn=call)


def all_layers(layer: keras.layers.Layer) -> list[keras.layers.Layer]:
    """Return a layer or model and all layers in it, those in layers of layers too."""
    return list(layer._flatten_layers())


def has_layers(layer: keras.layers.Layer) -> bool:
    """Tell whether there are layers in a layer."""
    return next(iter(layer._flatten_layers(include_self=False)), None) is not None


def attend(layer: keras.layers.MultiHeadAttention, query: Any, key: Any, value: Any, mask: Any) -> tuple[Any, Any]:
    """Mix values by attention, of what a layer has projected, as Keras' guide overrides it.

    Args:
        layer: Whose heads and scale.
        query: (n, steps, heads, features), and so are key and value.
        key: What queries are held against.
        value: What is mixed.
        mask: Bool (n, 1 or steps, steps).

    Returns:
        Of the shape of query, and the maps (n, heads, steps, steps).
    """
    mixed, maps = layer._compute_attention(query, key, value, attention_mask=mask, return_attention_scores=True)
    return mixed, maps


def without_distribution(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.Optimizer:
    """Undo what Keras does to an optimiser for ``tf.distribute``, for which it gives up ``stateless_apply``.

    Args:
        optimizer: Changed in place; methods of its own are left as they are.

    Returns:
        The same.
    """
    backend, neutral = keras.optimizers.Optimizer.__bases__
    for name, replaced in vars(backend).items():
        common = callable(replaced) and not name.startswith("__") and name in vars(neutral)
        if common and getattr(type(optimizer), name) is replaced:  # else the optimiser has a method of its own
            setattr(optimizer, name, MethodType(vars(neutral)[name], optimizer))
    return optimizer
