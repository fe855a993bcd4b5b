"""Convolutional networks for images."""

import keras
from keras import layers


def student(shape: tuple[int, int, int], classes: int, width: int = 16) -> keras.Model:
    """Two convolutions, two poolings, one dense layer: what a microcontroller runs in milliseconds.

    Args:
        shape: (height, width, channels) of an image, float32.
        classes: Number of classes.
        width: Filters of the first convolution; the second has twice as many.
    """
    return _network(shape, classes, filters=(width, 2 * width), depth=1, dense=0)


def teacher(shape: tuple[int, int, int], classes: int, width: int = 48, dense: int = 128) -> keras.Model:
    """Twice two convolutions and a hidden dense layer, wider than the student; pooled at the same places."""
    return _network(shape, classes, filters=(width, 2 * width), depth=2, dense=dense)


def _network(
    shape: tuple[int, int, int], classes: int, filters: tuple[int, ...], depth: int, dense: int
) -> keras.Model:
    inputs = keras.Input(shape, name="image")
    x, hidden = inputs, []
    for block, count in enumerate(filters):
        for i in range(depth):
            x = layers.Conv2D(count, 3, padding="same", activation="relu", name=f"block{block}_conv{i}")(x)
        if min(x.shape[1:3]) > 1:
            x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
        hidden.append(x)
    x = layers.Flatten(name="flatten")(x)
    if dense:
        x = layers.Dense(dense, activation="relu", name="dense")(x)
    logits = layers.Dense(classes, name="logits")(x)
    return keras.Model(inputs, {"logits": logits, "hidden": hidden})
