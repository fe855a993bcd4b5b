"""A student made of its teacher's first layers."""

from collections.abc import Sequence

import keras

from fedkd.base.errors import InputError
from fedkd.models.adapters import adapters_of
from fedkd.models.inspect import head, unfrozen

Pairs = list[tuple[keras.layers.Layer, keras.layers.Layer]]


def first_layers(teacher: keras.Model, student: keras.Model) -> Pairs:
    """Pair each layer of the student, in order, with the next one of the teacher of its kind and its shapes.

    Teacher's layers that fit nowhere are passed over, and so are the student's; heads are in no pair.

    Returns:
        Pairs of layers (teacher, student) with weights.
    """
    given, pairs = hidden_layers(teacher), Pairs()
    for layer in hidden_layers(student):
        match = next((i for i, other in enumerate(given) if _fits(other, layer)), None)
        if match is not None:
            pairs.append((given[match], layer))
            given = given[match + 1 :]
    return pairs


def take_first_layers(teacher: keras.Model, student: keras.Model) -> None:
    """Give the student's layers the weights of those of the teacher that they are paired with.

    Raises:
        InputError: No layer of the student fits one of the teacher.

    Reference:
        Wu et al. 2022, Methods: the student takes the parameters of the teacher's first layers.
    """
    pairs = first_layers(teacher, student)
    if not pairs:
        raise InputError(
            "model.student_init must be random for these models, got 'teacher_layers': no layer of the student has"
            f" the kind and shapes of one of the teacher ({_first(student)} against {_first(teacher)}); the built-in"
            " models fit where model.student_width = model.teacher_width"
        )
    for source, target in pairs:
        target.set_weights(source.get_weights())


def tensor_pairs(teacher: keras.Model, student: keras.Model) -> list[tuple[int, int]]:
    """Pair the tensors of the layers that ``first_layers`` pairs, but those that training changes in one model alone.

    Returns:
        Places in ``fedkd.models.inspect.whole_weights`` of the teacher, whose adapters change kernels that are frozen,
        and in ``unfrozen`` of the student.
    """
    places, own = _places(teacher.weights), _places(unfrozen(student))
    changed = {*_places(unfrozen(teacher)), *(id(teacher.weights[each.place]) for each in adapters_of(teacher))}
    tensors = (
        pair
        for source, target in first_layers(teacher, student)
        for pair in zip(source.weights, target.weights, strict=True)
    )
    return [(places[id(a)], own[id(b)]) for a, b in tensors if id(a) in changed and id(b) in own]


def _places(weights: Sequence[keras.Variable]) -> dict[int, int]:
    return {id(weight): i for i, weight in enumerate(weights)}


def hidden_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Layers with weights but for the head, inputs first."""
    last = head(model)
    return [layer for layer in model.layers if layer.weights and layer is not last]


def _fits(teacher: keras.layers.Layer, student: keras.layers.Layer) -> bool:
    return type(teacher) is type(student) and _shapes(teacher) == _shapes(student)


def _first(model: keras.Model) -> str:
    """The first layer, for messages."""
    layers = hidden_layers(model)
    return f"{layers[0].name}: {', '.join(map(str, _shapes(layers[0])))}" if layers else "a head alone"


def _shapes(layer: keras.layers.Layer) -> list[tuple[int, ...]]:
    return [tuple(weight.shape) for weight in layer.weights]
