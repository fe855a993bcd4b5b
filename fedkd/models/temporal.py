"""Temporal convolutional networks for windows of sensor data."""

import keras
from keras import layers


def student(shape: tuple[int, int], classes: int, width: int = 16) -> keras.Model:
    """Two convolutions over time, each pooled, and one dense layer.

    Args:
        shape: (steps, channels) of a window, float32.
        classes: Number of classes.
        width: Filters of the first convolution; the second has twice as many.
    """
    return _network(shape, classes, filters=(width, 2 * width), dense=0)


def teacher(shape: tuple[int, int], classes: int, width: int = 64) -> keras.Model:
    """The student's plan, wider and with a hidden dense layer; pooled at the same places."""
    return _network(shape, classes, filters=(width, 2 * width), dense=128)


def _network(shape: tuple[int, int], classes: int, filters: tuple[int, ...], dense: int) -> keras.Model:
    inputs = keras.Input(shape, name="window")
    x, hidden = inputs, []
    for block, (count, kernel) in enumerate(zip(filters, (9, 5), strict=True)):
        x = layers.Conv1D(count, kernel, padding="same", activation="relu", name=f"block{block}_conv")(x)
        if x.shape[1] >= 8:
            x = layers.MaxPooling1D(4, name=f"block{block}_pool")(x)
        hidden.append(x)
    x = layers.Flatten(name="flatten")(x)
    if dense:
        x = layers.Dense(dense, activation="relu", name="dense")(x)
    return keras.Model(inputs, {"logits": layers.Dense(classes, name="logits")(x), "hidden": hidden})
