"""Dense networks for rows of a table."""

import keras
from keras import layers


def student(shape: tuple[int], outputs: int, width: int = 32) -> keras.Model:
    """Two hidden layers: some thousands of multiplications.

    Args:
        shape: (features,) of a row, float32.
        outputs: Number of classes, labels or targets.
        width: Units of the first hidden layer; the second has half as many.
    """
    return _network(shape, outputs, (width, width // 2))


def teacher(shape: tuple[int], outputs: int, width: int = 256) -> keras.Model:
    """The student's plan, wider."""
    return _network(shape, outputs, (width, width // 2))


def _network(shape: tuple[int], outputs: int, widths: tuple[int, ...]) -> keras.Model:
    inputs = keras.Input(shape, name="row")
    x, hidden = inputs, []
    for block, units in enumerate(widths):
        hidden.append(x := layers.Dense(max(1, units), activation="relu", name=f"dense{block}")(x))
    return keras.Model(inputs, {"logits": layers.Dense(outputs, name="logits")(x), "hidden": hidden})
