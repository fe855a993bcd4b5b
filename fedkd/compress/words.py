"""Models whose word table holds the words in use alone: every other word takes the row of the one most like it."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from fedkd.base.errors import InputError
from fedkd.compress.fake_quant import QuantEmbedding
from fedkd.models.graph import Chain, copy, functional, graph_of, rebuild
from fedkd.models.transformer import TokenEmbedding

# Layers that hold a word table, as their first weight, and their setting that counts its rows.
_TABLES: Mapping[type[layers.Layer], str] = {
    TokenEmbedding: "vocabulary",
    layers.Embedding: "input_dim",
    QuantEmbedding: "input_dim",
}
_SMALL = np.iinfo(np.int16).max  # rows that two bytes can number
_KEPT = 0  # padding, by which layers know what isn't there
_BLOCK = 1024  # words that are compared with all kept ones at a time


@keras.saving.register_keras_serializable("fedkd")
class RowOfWord(layers.Layer):
    """From ids of a vocabulary to the rows of a table that holds some of its words.

    Whoever feeds the model feeds the ids that the whole table takes: which words were left out is a part of the model.

    Args:
        rows: Row of each word, whole numbers from 0.
    """

    def __init__(self, rows: Sequence[int] | np.ndarray, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.rows = np.asarray(rows, np.int64)

    def call(self, ids: tf.Tensor) -> tf.Tensor:
        """Return the row of each id, int32, of the ids' shape."""
        rows = tf.constant(self.rows, tf.int16 if self.rows.max() <= _SMALL else tf.int32)
        return tf.cast(tf.gather(rows, tf.cast(ids, tf.int32)), tf.int32)

    def get_config(self) -> dict[str, Any]:
        """Return what a saved model needs to build this layer again."""
        return {**super().get_config(), "rows": self.rows.tolist()}


def table_of(model: keras.Model) -> np.ndarray:
    """Return the word table of a model, float32 (words, width).

    Raises:
        InputError: There isn't one, or the model's graph can't be seen.
    """
    return np.asarray(_table(functional(model)).get_weights()[0])


def with_words(model: keras.Model, used: np.ndarray) -> keras.Model:
    """Return a copy of a model whose word table has rows for some words alone; for these it computes the same.

    A word that is left out gets the row of the kept one whose vector points most nearly where its own did: language
    models that were trained on much text have words of like meaning there.

    Args:
        model: Functional or Sequential, with one word table (``fedkd.TokenEmbedding`` or Keras' ``Embedding``); not
            changed. It takes the same ids afterwards.
        used: Ids that keep their rows, integers of any shape; 0, the padding of most vocabularies, is always kept.

    Raises:
        InputError: There isn't one word table, an id is none of its vocabulary, or the model's graph can't be seen.
    """
    plain = functional(model)
    table = _table(plain)
    vectors, size = table.get_weights()[0], _TABLES[type(table)]
    kept = np.unique(np.append(np.asarray(used).ravel(), _KEPT))
    if kept.dtype.kind not in "iu" or kept[0] < 0 or kept[-1] >= len(vectors):
        raise InputError(f"word ids must be whole numbers from 0 to {len(vectors) - 1}, got {kept[0]} to {kept[-1]}")

    rows = _rows(vectors, kept)

    def make(operation: keras.Operation) -> Any:
        if operation.name != table.name:
            return copy(operation)
        smaller = type(table).from_config({**table.get_config(), size: len(kept)})
        return Chain(table.name, [RowOfWord(rows, name=f"{table.name}_rows"), smaller])

    cut = rebuild(plain, make)
    for layer in plain.layers:
        held = layer.get_weights()
        if layer.name == table.name:
            held[0] = vectors[kept]
        if held:
            cut.get_layer(layer.name).set_weights(held)
    return cut


def _rows(vectors: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """The row of each word (words,) in a table of the kept ones: its own, or that of the largest cosine."""
    # In float64 the order of sums, and so the number of threads, doesn't decide which is the nearest.
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    units = vectors / np.where(lengths > 0, lengths, 1)
    rows, known = np.empty(len(vectors), np.int64), units[kept].T
    for start in range(0, len(units), _BLOCK):
        rows[start : start + _BLOCK] = (units[start : start + _BLOCK] @ known).argmax(axis=1)
    rows[kept] = np.arange(len(kept))
    return rows


def _table(model: keras.Model) -> Any:
    """The one layer that holds a word table."""
    tables = [node.operation for node in graph_of(model).nodes if type(node.operation) in _TABLES]
    if len(tables) != 1:
        names = ", ".join(str(table.name) for table in tables) or "none"
        raise InputError(f"a model must have one word table to leave words out of it, got {names}")
    return tables[0]
