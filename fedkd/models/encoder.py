"""The first layers of a pretrained encoder as a Keras model, with the weights of its Hugging Face folder."""

import re

import keras
import numpy as np
from safetensors import SafetensorError, safe_open

from fedkd.base.encoder import WEIGHTS, Encoder
from fedkd.base.errors import InputError
from fedkd.models import news
from fedkd.models.transformer import encoder_network


def first_layers(encoder: Encoder, layers: int, steps: int, outputs: int, history: int = 0) -> keras.Model:
    """Build a model of an encoder's first layers, with the folder's weights and a fresh head.

    Args:
        encoder: Which.
        layers: How many of its layers, at least 1.
        steps: Words of a text.
        outputs: Of the head: classes, or candidates where there is a history.
        history: Texts that a user has clicked, of which an example is made before those of the candidates; 0 where an
            example is one text.

    Raises:
        InputError: The folder lacks a weight, or has it in another shape.
    """
    if history:
        model = news.encoder_network(encoder, layers, history, outputs, steps)
    else:
        model = encoder_network(encoder, layers, steps, outputs)
    with _Weights(encoder) as weights:
        model.get_layer("embedding").set_weights(weights.tables(steps))
        model.get_layer("embedding_norm").set_weights(weights.norm(f"{encoder.family.embedding}LayerNorm"))
        for i in range(layers):
            for name, arrays in weights.layer(i).items():
                model.get_layer(f"layer{i}_{name}").set_weights(arrays)
    return model


def freeze(model: keras.Model, layers: int) -> keras.Model:
    """Have the tables of words and positions, their norm and the first layers stay as they are.

    Args:
        model: Of ``first_layers``; changed in place.
        layers: How many of its layers.

    Returns:
        The same model.
    """
    for layer in pretrained_layers(model):
        below = re.match(r"layer(\d+)_", layer.name)
        if below is None or int(below[1]) < layers:
            layer.trainable = False
    return model


def pretrained_layers(model: keras.Model) -> list[keras.layers.Layer]:
    """Return the layers with weights of an encoder's folder, of a model of ``first_layers``."""
    return [layer for layer in model.layers if re.match(r"embedding|layer\d+_", layer.name) and layer.weights]


_OLDER = {"weight": "gamma", "bias": "beta"}


class _Weights:
    """The weights of an encoder's folder, as Keras' layers take them; read one by one.

    Args:
        encoder: Which.
    """

    def __init__(self, encoder: Encoder) -> None:
        self._encoder, self._path = encoder, encoder.folder / WEIGHTS

    def __enter__(self) -> "_Weights":
        """Open the file."""
        try:
            self._file = safe_open(self._path, "numpy").__enter__()
        except (SafetensorError, OSError) as error:
            raise InputError(f"{self._path}: not a safetensors file ({error})") from None
        self._names = set(self._file.keys())
        return self

    def __exit__(self, *what: object) -> None:
        """Close it."""
        self._file.__exit__(*what)

    def _read(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """An array by its name, with or without that of the model that it is the body of."""
        found = self._find(name)
        if len(found) != 1:
            raise InputError(f"{self._path}: must hold {name}, found {', '.join(sorted(found)) or 'none'}")
        array = np.asarray(self._file.get_tensor(found[0]), np.float32)
        if array.shape != shape:
            raise InputError(f"{self._path}: {found[0]} must have shape {shape}, got {array.shape}")
        if not np.isfinite(array).all():
            raise InputError(f"{self._path}: {found[0]} holds NaN or Inf")
        return array

    def _find(self, name: str) -> list[str]:
        """Names in the file of an array; norms of older files are called otherwise."""
        parts = name.rpartition(".")
        known = {name, f"{parts[0]}.{_OLDER[parts[2]]}"} if "norm" in name.lower() and parts[2] in _OLDER else {name}
        return [each for each in self._names if each in known or each.partition(".")[2] in known]

    def tables(self, steps: int) -> list[np.ndarray]:
        """Rows of words, and of as many positions as a text has words, with that of the first sentence in each."""
        encoder = self._encoder
        begin, width, rows = encoder.family.embedding, encoder.width, encoder.positions + encoder.first
        words = self._read(f"{begin}word_embeddings.weight", (encoder.vocabulary, width))
        positions = self._read(f"{begin}position_embeddings.weight", (rows, width))
        positions = positions[encoder.first : encoder.first + steps]
        if encoder.kinds:
            positions = positions + self._read(f"{begin}token_type_embeddings.weight", (encoder.kinds, width))[0]
        return [words, positions]

    def norm(self, name: str) -> list[np.ndarray]:
        """Scale and shift of a norm."""
        return [self._read(f"{name}.{part}", (self._encoder.width,)) for part in ("weight", "bias")]

    def layer(self, index: int) -> dict[str, list[np.ndarray]]:
        """Weights of all parts of a layer, by the names of Keras' layers."""
        encoder, begin = self._encoder, self._encoder.family.layer.format(index)
        width, heads, inner = encoder.width, encoder.heads, encoder.inner
        query, key, value, out, norm0, dense0, dense1, norm1 = (begin + part for part in encoder.family.parts)
        attention: list[np.ndarray] = []
        for name in (query, key, value):
            kernel, bias = self._dense(name, width, width)
            attention += [kernel.reshape(width, heads, -1), bias.reshape(heads, -1)]
        kernel, bias = self._dense(out, width, width)
        attention += [kernel.reshape(heads, -1, width), bias]
        return {
            "attention": attention,
            "norm0": self.norm(norm0),
            "dense0": self._dense(dense0, width, inner),
            "dense1": self._dense(dense1, inner, width),
            "norm1": self.norm(norm1),
        }

    def _dense(self, name: str, inputs: int, outputs: int) -> list[np.ndarray]:
        return [self._read(f"{name}.weight", (outputs, inputs)).T, self._read(f"{name}.bias", (outputs,))]
