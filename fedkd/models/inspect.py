"""What the protocol needs to know of a Keras model: its outputs, the spec of its tensors, its logits alone."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from fedkd.base.errors import InputError
from fedkd.base.keras_internals import all_layers, call_behind, has_layers, layers_seeded
from fedkd.base.tensors import Spec, TensorSpec, Weights
from fedkd.models.adapters import adapters_of, factors_of, replaced_by_adapters


class Outputs(NamedTuple):
    """What a model returns for a batch, first layer first; ``fedkd.models`` says what each is."""

    logits: Any
    hidden: Sequence[Any] = ()
    attention: Sequence[Any] = ()
    values: Sequence[Any] = ()
    mask: Any = None

    def map(self, function: Callable[[Any], Any]) -> "Outputs":
        """Apply a function to each tensor."""
        parts = (self.hidden, self.attention, self.values)
        hidden, attention, values = ([function(tensor) for tensor in part] for part in parts)
        mask = None if self.mask is None else function(self.mask)
        return Outputs(function(self.logits), hidden, attention, values, mask)


def split_outputs(output: Any) -> Outputs:
    """Read a model's output in any of the forms ``fedkd.models`` allows."""
    if isinstance(output, dict):
        hidden, attention, values = (output.get(name, ()) for name in ("hidden", "attention", "values"))
        return Outputs(output["logits"], hidden, attention, values, output.get("mask"))
    return Outputs(output)


def build_model(builder: Callable[[], keras.Model], seed: int) -> keras.Model:
    """Build a model whose initial weights depend on the seed alone, whatever other threads draw meanwhile.

    Raises:
        InputError: The builder fails, or returns no functional or built sequential model.
    """
    try:
        with layers_seeded(seed):
            model = builder()
    except InputError:
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        raise InputError(f"a builder of the task's models failed: {type(error).__name__}: {said}") from error
    if isinstance(model, keras.Sequential) and model.built:
        model = keras.Model(model.inputs, model.outputs[0])
    if not isinstance(model, keras.Model):
        raise InputError(f"a builder of a task must return a keras.Model, got {type(model).__name__}")
    if not hasattr(model, "output"):
        raise InputError(f"{model.name}: must be a functional model, or a Sequential that starts with keras.Input")
    if len(model.inputs) != 1:
        raise InputError(f"{model.name}: must have 1 input, got {len(model.inputs)}; join them into one array")
    if not isinstance(model.output, dict | keras.KerasTensor):
        raise InputError(
            f"{model.name}: must return logits, or a dict of 'logits' and of what else the teacher and the student"
            f" compare ('hidden', 'attention', 'values', 'mask'), got a {type(model.output).__name__}"
        )
    if isinstance(model.output, dict) and "logits" not in model.output:
        raise InputError(f"{model.name}: its outputs must have the key 'logits', got {', '.join(model.output)}")
    return model


def head(model: keras.Model) -> keras.layers.Layer:
    """Return the last layer with weights on the way to the logits: the classifier.

    Raises:
        InputError: The logits come of several tensors, or of no layer with weights.
    """
    return head_and_input(model)[0]


def head_and_input(model: keras.Model) -> tuple[keras.layers.Layer, keras.KerasTensor]:
    """Return the head and the symbolic tensor it is called with, the first of several."""
    tensor = split_outputs(model.output).logits
    while True:
        operation, inputs = call_behind(tensor)
        if inputs and getattr(operation, "weights", ()):
            return operation, inputs[0]
        if len(inputs) != 1:
            raise InputError(f"{model.name}: no head found, its logits must come of one layer after the other")
        tensor = inputs[0]


def unfrozen(model: keras.Model) -> list[keras.Variable]:
    """Return what training may change of a model, in the order of ``model.weights``: the rest stays as it was built.

    Frozen are the weights and the statistics of layers whose ``trainable`` is False, as in Keras. They are no part of
    what is trained, held or shared.
    """
    still = {id(weight) for layer in all_layers(model) if not layer.trainable for weight in layer.weights}
    return [weight for weight in model.weights if id(weight) not in still]


def frozen(model: keras.Model) -> Weights:
    """Copy of what training doesn't change of a model, as float32, in the order of ``model.weights``."""
    moves = {id(weight) for weight in unfrozen(model)}
    return [_array(weight) for weight in model.weights if id(weight) not in moves]


def get_weights(model: keras.Model) -> Weights:
    """Copy of a model's weights as float32, in the order of ``unfrozen``."""
    return [_array(weight) for weight in unfrozen(model)]


def _array(weight: keras.Variable) -> np.ndarray:
    return np.array(keras.ops.convert_to_numpy(weight), np.float32)


def set_weights(model: keras.Model, weights: Sequence[np.ndarray]) -> None:
    """Give a model weights in the order of ``unfrozen``."""
    for variable, array in zip(unfrozen(model), weights, strict=True):
        variable.assign(array)


def model_spec(model: keras.Model) -> Spec:
    """Spec of each tensor of ``unfrozen``, with the matrix form that suits the layer it belongs to."""
    leading: dict[int, int] = {}
    for layer in all_layers(model):
        for weight in getattr(layer, "weights", ()) if not has_layers(layer) else ():
            leading[id(weight)] = leading_axes(layer, weight)
    trained = {id(weight) for weight in model.trainable_weights}
    return tuple(
        TensorSpec(
            weight.path,
            tuple(weight.shape),
            leading.get(id(weight), max(len(weight.shape) - 1, 0)),
            kernel=is_kernel(weight),
            statistic=id(weight) not in trained,
        )
        for weight in unfrozen(model)
    )


# What layers call them: Keras' own, this project's tables, and what people name them.
_KERNELS = {"kernel", "embeddings", "words", "positions", "embedding", "table", "weight", "weights", "w"}
_UNNAMED = "variable"  # as Keras calls what a layer doesn't; of these, statistics aren't trained


def is_kernel(weight: keras.Variable) -> bool:
    """Whether a weight is a kernel or a table by the name that its layer gave it, and no bias, slope or norm.

    It has two axes or more: biases of recurrent layers and of attention, slopes and norms may have them, too.
    """
    name = weight.name.rstrip("_0123456789").rpartition("_")[2]
    return len(weight.shape) >= 2 and (name in _KERNELS or (name == _UNNAMED and weight.trainable))


def leading_axes(layer: keras.layers.Layer, weight: keras.Variable) -> int:
    """Return how many leading axes of a layer's weight become the rows of its matrix, see ``TensorSpec``."""
    rank = len(weight.shape)
    if isinstance(layer, keras.layers.EinsumDense):
        if weight is not layer.kernel:
            return 0
        inputs, rest = layer.equation.replace("...", "").split(",")
        kernel, output = rest.split("->")
        contracted = [axis for axis in kernel if axis in inputs and axis not in output]
        # Only a kernel whose contracted axes come first is a matrix without moving axes; Keras makes no other.
        return len(contracted) if kernel.startswith("".join(contracted)) and contracted else rank - 1
    depthwise = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)
    if (isinstance(layer, depthwise) and rank > 2) or "depthwise" in weight.name:
        return rank - 2
    return max(rank - 1, 0)


def layer_modules(model: keras.Model) -> tuple[str, ...]:
    """Python modules of the layers that aren't Keras' own, which must be imported before the model can be loaded."""
    modules = {type(layer).__module__ for layer in all_layers(model)}
    return tuple(sorted(name for name in modules if name.split(".")[0] != "keras"))


def parameters(model: keras.Model) -> int:
    """Number of numbers in a model's weights, without those of its adapters."""
    return count(model.weights) - count(factors_of(model))


def moving_parameters(model: keras.Model) -> int:
    """Number of numbers that training changes of a model, or would without its adapters: what plain averaging sends."""
    apart = {id(factor) for factor in factors_of(model)}
    own = [weight for weight in unfrozen(model) if id(weight) not in apart]
    return count(own) + replaced_by_adapters(model)


def count(weights: Sequence[keras.Variable]) -> int:
    """Number of numbers in some weights."""
    return int(sum(np.prod(weight.shape) for weight in weights))


def whole_weights(model: keras.Model, weights: Sequence[np.ndarray] | None = None) -> Weights:
    """Return what all layers of a model hold, in the order of ``model.weights``: adapters in their kernels.

    Args:
        model: A model as it was built.
        weights: Of what training changes, in the order of ``unfrozen``; the model's own where None.
    """
    given = dict(zip(map(id, unfrozen(model)), weights, strict=True)) if weights is not None else {}

    def value(weight: keras.Variable) -> np.ndarray:
        return given[id(weight)] if id(weight) in given else np.array(keras.ops.convert_to_numpy(weight))

    apart = {id(factor) for factor in factors_of(model)}
    found = [value(weight) for weight in model.weights if id(weight) not in apart]
    for adapter in adapters_of(model):
        found[adapter.place] = adapter.merged(found[adapter.place], value)
    return found


def logits_model(model: keras.Model, weights: Weights | None = None, name: str = "student") -> keras.Model:
    """Return a copy of the model that returns logits alone, for saving and for the device.

    It has no adapters, but their sums as its kernels; layers that had adapters are frozen no more.

    Args:
        model: A model as a task builds it.
        weights: Its weights in the order of ``unfrozen``; the model's own where None.
        name: Of the copy.
    """
    clone = keras.models.clone_model(model)
    clone.set_weights(whole_weights(model, weights))
    places = {adapter.place for adapter in adapters_of(model)}
    adapted = {id(weight) for place, weight in enumerate(clone.weights) if place in places}
    for layer in clone.layers:
        if adapted & set(map(id, layer.weights)):
            layer.trainable = True
    return keras.Model(clone.inputs[0], split_outputs(clone.output).logits, name=name)
