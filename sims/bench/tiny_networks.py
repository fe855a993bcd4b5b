"""The four reference networks of MLPerf Tiny, and data with as much structure as training them a little asks for.

Reference:
    Banbury et al., MLPerf Tiny Benchmark, NeurIPS Datasets and Benchmarks 2021, section 4; the shapes are those of the
    reference models in ``benchmark/training`` of github.com/mlcommons/tiny.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import keras
import numpy as np
from keras import layers

_MOMENTUM = 0.8  # of normalisations; with Keras' 0.99 a few dozen steps would leave statistics as they began


@dataclass(frozen=True)
class Network:
    """A reference network.

    Args:
        title: What it is for.
        build: Makes it, with Keras' current seed.
        classes: How many it tells apart; 0 where it reconstructs its input.
        rows: Training examples that are made for it.
        noise: Standard deviation of what is added to each, against patterns of standard deviation 1.
        rate: Learning rate of Adam.
    """

    title: str
    build: Callable[[], keras.Model]
    classes: int
    rows: int
    noise: float = 1.0
    rate: float = 0.003


class Examples(NamedTuple):
    """Inputs, float32 (n, *input_shape), and targets: classes, or the inputs themselves."""

    x: np.ndarray
    y: np.ndarray


def keyword_spotting() -> keras.Model:
    """DS-CNN: ten cepstral coefficients of 49 moments in time; twelve words."""
    x = inputs = keras.Input((49, 10, 1))
    x = layers.Dropout(0.2)(_relu(layers.Conv2D(64, (10, 4), strides=2, padding="same")(x)))
    for _ in range(4):
        x = _separable(x, 64)
    x = layers.AveragePooling2D((24, 5))(layers.Dropout(0.4)(x))
    return _classifier(inputs, x, 12, "keyword_spotting")


def visual_wake_words() -> keras.Model:
    """MobileNetV1 of a quarter of its width: a person in the picture or none."""
    x = inputs = keras.Input((96, 96, 3))
    x = _relu(layers.Conv2D(8, 3, strides=2, padding="same")(x))
    widths = (16, 32, 32, 64, 64, *(128,) * 6, 256, 256)
    for place, width in enumerate(widths):
        x = _separable(x, width, stride=2 if place in (1, 3, 5, 11) else 1)
    return _classifier(inputs, layers.AveragePooling2D(3)(x), 2, "visual_wake_words")


def image_classification() -> keras.Model:
    """ResNet-8: three residual blocks over small pictures of ten things."""
    x = inputs = keras.Input((32, 32, 3))
    x = _relu(layers.Conv2D(16, 3, padding="same")(x))
    for width, stride in ((16, 1), (32, 2), (64, 2)):
        y = _relu(layers.Conv2D(width, 3, strides=stride, padding="same")(x))
        y = layers.BatchNormalization(momentum=_MOMENTUM)(layers.Conv2D(width, 3, padding="same")(y))
        x = layers.Conv2D(width, 1, strides=stride, padding="same")(x) if stride > 1 else x
        x = layers.Activation("relu")(layers.Add()([x, y]))
    return _classifier(inputs, layers.AveragePooling2D(8)(x), 10, "image_classification")


def anomaly_detection() -> keras.Model:
    """Autoencoder over five moments of 128 mel bands: what it can't give back sounds strange."""
    x = inputs = keras.Input((640,))
    for width in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        x = _relu(layers.Dense(width)(x))
    return keras.Model(inputs, layers.Dense(640)(x), name="anomaly_detection")


NETWORKS: Mapping[str, Network] = {
    "keyword_spotting": Network("Keyword spotting, DS-CNN", keyword_spotting, 12, 768),
    "visual_wake_words": Network("Visual wake words, MobileNetV1 0.25", visual_wake_words, 2, 384),
    "image_classification": Network("Image classification, ResNet-8", image_classification, 10, 768),
    "anomaly_detection": Network("Anomaly detection, autoencoder", anomaly_detection, 0, 1536, noise=0.3),
}


def examples(network: Network, rng: np.random.Generator) -> tuple[Examples, Examples]:
    """Make training and test examples, mixtures of smooth patterns with noise.

    A class has a pattern, of which at least half is in each of its examples, the rest being another's: some are hard to
    tell. What is to be reconstructed is a mixture of six.

    Args:
        network: Whose inputs and classes they have.
        rng: Draws them.

    Returns:
        ``network.rows`` to train on, and 200 to test on.
    """
    shape, count = network.build().input_shape[1:], network.rows + 200
    patterns = _patterns(shape, network.classes or 6, rng)
    if network.classes:
        y = rng.integers(network.classes, size=count)
        share = rng.uniform(0.5, 1.0, (count, *(1 for _ in shape)))
        x = share * patterns[y] + (1 - share) * patterns[rng.integers(network.classes, size=count)]
    else:
        x = np.tensordot(rng.dirichlet(np.ones(len(patterns)), count), patterns, 1)
    x = (x + rng.normal(scale=network.noise, size=x.shape)).astype(np.float32)
    targets = y if network.classes else x
    return Examples(x[:-200], targets[:-200]), Examples(x[-200:], targets[-200:])


def _patterns(shape: tuple[int, ...], count: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth random arrays (count, *shape) of mean 0 and standard deviation 1: sums of a few waves along each axis."""
    found = np.zeros((count, *shape))
    for _ in range(4):
        wave = np.ones((count, *shape))
        for axis, size in enumerate(shape):
            turns, phase = rng.uniform(0.5, 3, (count, 1)), rng.uniform(0, 2 * np.pi, (count, 1))
            along = np.sin(turns * np.linspace(0, 2 * np.pi, size) + phase)
            wave *= along.reshape(count, *(size if i == axis else 1 for i in range(len(shape)))) if size > 1 else 1
        found += wave
    axes = tuple(range(1, found.ndim))
    return (found - found.mean(axes, keepdims=True)) / found.std(axes, keepdims=True)


def _relu(x: keras.KerasTensor) -> keras.KerasTensor:
    return layers.Activation("relu")(layers.BatchNormalization(momentum=_MOMENTUM)(x))


def _separable(x: keras.KerasTensor, width: int, stride: int = 1) -> keras.KerasTensor:
    x = _relu(layers.DepthwiseConv2D(3, strides=stride, padding="same")(x))
    return _relu(layers.Conv2D(width, 1, padding="same")(x))


def _classifier(inputs: keras.KerasTensor, x: keras.KerasTensor, classes: int, name: str) -> keras.Model:
    return keras.Model(inputs, layers.Dense(classes, activation="softmax")(layers.Flatten()(x)), name=name)
