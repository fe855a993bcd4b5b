"""A transformer that computes for the words of its texts alone, not for the padding that makes texts equally long.

Layers that treat each word by itself get the real words of all texts one after the other, and attention alone puts them
back into their texts. What padding is given in the outputs is 0.
"""

from typing import Any

import keras
import tensorflow as tf
from keras import layers

from fedkd.base.errors import InputError
from fedkd.base.keras_internals import all_layers, attend
from fedkd.models.graph import INPUT, functional, rebuild
from fedkd.models.inspect import split_outputs
from fedkd.models.transformer import IntegerFriendlyNorm, SelfAttention, TokenEmbedding

_BY_WORD = (IntegerFriendlyNorm, layers.Dense, layers.Activation)
_OPERATIONS = ("Add", "Gelu", "Relu")  # of keras.ops


def packed(model: keras.Model) -> keras.Model:
    """Leave padding out of what a model computes.

    Args:
        model: Any; not changed. It is returned itself where it isn't a transformer of ours on one text an example.

    Returns:
        A model of the same layers and variables, and of a few more layers without any of their own; equal to it but for
        rounding and for what it returns of padding.
    """
    mask = split_outputs(model.output).mask
    if mask is None or len(mask.shape) != 2 or not any(type(layer) is SelfAttention for layer in all_layers(model)):
        return model
    try:
        return _Packing(functional(model)).result
    except InputError:
        return model  # a graph that can't be seen


class _Packing:
    """Builds a model again, and knows which of its tensors hold real words alone.

    Args:
        model: Functional, with a mask of its words, (n, steps), among its outputs.
    """

    def __init__(self, model: keras.Model) -> None:
        self._mask = keras.Model(model.inputs[0], split_outputs(model.output).mask)
        self._real: Any = None
        self._places: Any = None
        self._words: dict[int, keras.KerasTensor] = {}  # by identity, which is its own as long as it is held here
        plain = rebuild(model, lambda operation: operation, self._call)
        self.result = keras.Model(plain.inputs, keras.tree.map_structure(self._unpacked, plain.output))

    def _call(self, operation: Any, sources: tuple[str, ...], *args: Any, **kwargs: Any) -> Any:
        """Make a call on real words alone where it can be, else on whole texts."""
        tensors = [each for each in keras.tree.flatten((args, kwargs)) if isinstance(each, keras.KerasTensor)]
        if type(operation) is TokenEmbedding and sources == (INPUT,) and len(args[0].shape) == 2:
            self._real = self._mask(args[0])
            self._places = Places()(self._real)
            return self._held(PackedEmbedding(operation)(args[0], self._places))
        if not any(id(tensor) in self._words for tensor in tensors):
            return operation(*args, **kwargs)
        by_word = type(operation) in _BY_WORD or type(operation).__name__ in _OPERATIONS
        if by_word and all(id(tensor) in self._words for tensor in tensors):
            return self._held(operation(*args, **kwargs))
        if type(operation) is SelfAttention:
            mixed, *rest = PackedAttention(operation)(args[0], args[1], self._places, self._real)
            return self._held(mixed), *rest
        args, kwargs = keras.tree.map_structure(self._unpacked, (args, kwargs))
        return operation(*args, **kwargs)

    def _held(self, tensor: keras.KerasTensor) -> keras.KerasTensor:
        self._words[id(tensor)] = tensor
        return tensor

    def _unpacked(self, tensor: Any) -> Any:
        return Unpack()(tensor, self._places, self._real) if id(tensor) in self._words else tensor


class Places(layers.Layer):
    """Where the real words are among all."""

    def call(self, real: Any) -> Any:
        """Return the places of what isn't 0 in real (n, steps), among all of them, int32 (words, 1)."""
        return tf.cast(tf.where(tf.reshape(real, (-1,)) > 0), tf.int32)

    def compute_output_spec(self, real: keras.KerasTensor) -> keras.KerasTensor:
        """Return the shape of what ``call`` returns."""
        return keras.KerasTensor((None, 1), dtype="int32")


class PackedEmbedding(layers.Layer):
    """The embedding of real words.

    Args:
        embedding: The layer whose tables it has.
    """

    def __init__(self, embedding: TokenEmbedding) -> None:
        super().__init__(dtype=embedding.dtype_policy)
        self.embedding, self.built = embedding, True

    def call(self, ids: Any, places: Any) -> Any:
        """Look up those of the ids (n, steps) that are at places; returns (words, width)."""
        return _pack(self.embedding(ids), places)

    def compute_output_spec(self, ids: keras.KerasTensor, places: keras.KerasTensor) -> keras.KerasTensor:
        """Return the shape of what ``call`` returns."""
        return keras.KerasTensor((None, self.embedding.width), dtype=self.compute_dtype)


class PackedAttention(layers.Layer):
    """Self-attention of real words, whose projections see nothing else.

    Args:
        attention: The layer whose weights it has.
    """

    def __init__(self, attention: SelfAttention) -> None:
        super().__init__(dtype=attention.dtype_policy)
        self.attention, self.built = attention, True

    def call(self, x: Any, attention_mask: Any, places: Any, real: Any) -> tuple[Any, Any, Any]:
        """Attend within the texts of words x (words, width), as ``SelfAttention`` does.

        Returns:
            (words, width), and maps and values of whole texts, as it returns them.
        """
        layer, one = self.attention, x[None]
        projections = layer.query_dense, layer.key_dense, layer.value_dense
        query, key, value = (_unpack(projection(one)[0], places, real) for projection in projections)
        mixed, maps = attend(layer, query, key, value, attention_mask)
        return layer.output_dense(_pack(mixed, places)[None])[0], maps, tf.transpose(value, (0, 2, 1, 3))

    def compute_output_spec(
        self, x: keras.KerasTensor, attention_mask: Any, places: Any, real: keras.KerasTensor
    ) -> tuple[keras.KerasTensor, ...]:
        """Return the shapes of what ``call`` returns."""
        whole = keras.KerasTensor((*real.shape, x.shape[-1]), dtype=self.compute_dtype)
        _, *rest = self.attention.compute_output_spec(whole, attention_mask)
        return keras.KerasTensor(x.shape, dtype=self.compute_dtype), *rest


class Unpack(layers.Layer):
    """Real words in their texts, with 0 in the place of padding."""

    def call(self, words: Any, places: Any, real: Any) -> Any:
        """Put words (words, width) at their places in texts of the shape of real (n, steps); (n, steps, width)."""
        return _unpack(words, places, real)

    def compute_output_spec(self, words: keras.KerasTensor, places: Any, real: keras.KerasTensor) -> keras.KerasTensor:
        """Return the shape of what ``call`` returns."""
        return keras.KerasTensor((*real.shape, *words.shape[1:]), dtype=words.dtype)


def _pack(whole: Any, places: Any) -> Any:
    """The words of texts (n, steps, ...) that are at places, (words, ...)."""
    return _gathered(tf.reshape(whole, (-1, *whole.shape[2:])), places)


@tf.custom_gradient  # TensorFlow's own would go by way of slices
def _gathered(flat: Any, places: Any) -> Any:
    def gradient(upstream: Any) -> Any:
        return tf.scatter_nd(places, upstream, tf.shape(flat)), None

    return tf.gather_nd(flat, places), gradient


def _unpack(words: Any, places: Any, real: Any) -> Any:
    """Words (words, ...) at their places in texts of the shape of real (n, steps): (n, steps, ...)."""
    flat = tf.scatter_nd(places, words, (tf.size(real), *words.shape[1:]))
    return tf.reshape(flat, (*(-1 if size is None else size for size in real.shape), *words.shape[1:]))
