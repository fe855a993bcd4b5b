"""Convolutional networks for spectra of sound, whose first convolution halves both axes.

Activations as large as the spectrum would not fit a microcontroller's memory, and a spectrum's neighbours are alike.
"""

import keras
from keras import layers

_HE = {"kernel_initializer": "he_normal"}  # of He et al. 2015, for ReLU: fewer rounds than Keras' own takes


def student(shape: tuple[int, int, int], classes: int, width: int = 16) -> keras.Model:
    """Three convolutions, the first two strided, one pooling and one dense layer: spoken digits in 16 KB of memory.

    There is no BatchNormalization: tried in a federation of speakers, it gained nothing that could be told from chance,
    and networks that average all places, which need it, learned more slowly there.

    Args:
        shape: (steps, bands, channels) of a spectrum, float32, both at least 5.
        classes: Number of classes.
        width: Filters of the first convolution; the others have twice as many.

    Reference:
        Zhang et al. 2017 (Hello Edge): networks for keywords within limits of memory and multiplications.
    """
    return _network(shape, classes, width, dense=0)


def teacher(shape: tuple[int, int, int], classes: int, width: int = 32, dense: int = 128) -> keras.Model:
    """The student's plan, wider and with a hidden dense layer; strided and pooled at the same places."""
    return _network(shape, classes, width, dense)


def _network(shape: tuple[int, int, int], classes: int, width: int, dense: int) -> keras.Model:
    inputs = keras.Input(shape, name="spectrum")
    x, hidden = inputs, []
    plan = ((width, 5, 2), (2 * width, 3, 2), (2 * width, 3, 1))
    for block, (filters, kernel, stride) in enumerate(plan):
        conv = layers.Conv2D(filters, kernel, stride, "same", activation="relu", name=f"block{block}_conv", **_HE)
        hidden.append(x := conv(x))
    x = layers.Flatten(name="flatten")(layers.MaxPooling2D(name="pool")(x))
    if dense:
        x = layers.Dense(dense, activation="relu", name="dense")(x)
    logits = layers.Dense(classes, name="logits")(x)
    return keras.Model(inputs, {"logits": logits, "hidden": hidden})
