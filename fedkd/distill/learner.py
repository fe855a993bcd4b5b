"""A Keras model as a pure function of lists of tensors."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fedkd.base.built_in import built_in_only
from fedkd.base.keras_internals import all_layers, given_to
from fedkd.base.tensors import Weights
from fedkd.models.adapters import adapters_of
from fedkd.models.inspect import Outputs, get_weights, split_outputs, unfrozen
from fedkd.models.packed import packed
from fedkd.models.pool_first import pooled_first
from fedkd.models.transformer import Rows, TokenEmbedding, rows_instead

Tensors = list[Any]


class Learner:
    """A model called with its weights as an argument, in the order of ``fedkd.models.inspect.unfrozen``.

    Frozen ones stay with the model. Weights are held, trained and shared in float32, whatever the dtype policy; the
    model sees them in its own dtypes.

    Args:
        model: Any Keras 3 model. Weights are matched by position and identity, never by name.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        weights = unfrozen(model)
        own = {id(w): i for i, w in enumerate(weights)}
        self._trainable = [own[id(v)] for v in model.trainable_variables]
        self._dtypes, self._shapes = [w.dtype for w in weights], [tuple(w.shape) for w in weights]
        self._still = {id(w): w for w in model.weights if id(w) not in own}
        self._adapters = {id(model.weights[adapter.place]): adapter for adapter in adapters_of(model)}
        self._own = own
        # Places of tables of the words that the model is given, by the names of their layers.
        tables = [layer for layer in model.layers if isinstance(layer, TokenEmbedding) and layer.words.trainable]
        self.tables = {
            layer.name: own[id(layer.words)]
            for layer in tables
            if all(ids is model.inputs[0] for ids in given_to(layer))
        }
        # What is called has the same variables and computes the same with less work, where it may by any operations.
        self._built_in = pooled_first(model)
        self._called = packed(self._built_in)
        rest = self._called.non_trainable_variables
        self._seeds = [v for v in rest if id(v) not in own and id(v) not in self._still]

    def initial(self) -> Weights:
        """Copy of the weights the model was built with."""
        return get_weights(self.model)

    def seeds(self, rng: np.random.Generator) -> Weights:
        """Draw the states of the model's random layers."""
        return [rng.integers(2**32, size=seed.shape, dtype=np.uint32) for seed in self._seeds]

    def trainable(self, values: Sequence[Any]) -> Tensors:
        """Pick the trainable ones of a list in the order of ``unfrozen``."""
        return [values[i] for i in self._trainable]

    def place(self, weight: int) -> int:
        """Place among the trainable ones of a weight in the order of ``unfrozen``."""
        return self._trainable.index(weight)

    def call(
        self, weights: Tensors, trainable: Tensors, seeds: Tensors, x: Any, training: bool, where: Sequence[Any] = ()
    ) -> tuple[Outputs, Any, Tensors, Tensors]:
        """Run the model.

        Args:
            weights: All of them.
            trainable: Those of them that are trained.
            seeds: States of random layers.
            x: Inputs (n, ...).
            training: Whether layers do what they do in training alone.
            where: For each of ``tables``, where its rows are among those that are given; empty where all are.

        Returns:
            Its outputs in float32, the sum of its own losses (regularisers, ``add_loss``), all weights with statistics
            brought up to date, and seeds.
        """
        called = self._built_in if built_in_only() else self._called
        drawn = dict(zip(map(id, self._seeds), seeds, strict=True))
        by_place = dict(zip(self._trainable, trainable, strict=True))
        rows = {
            name: Rows(tf.cast(by_place[i], self._dtypes[i]), each)
            for (name, i), each in zip(self.tables.items(), where, strict=bool(where))
        }
        for name in rows:  # the model wants a whole one, which nothing reads
            by_place[self.tables[name]] = tf.zeros(self._shapes[self.tables[name]])
        places = [self._own[id(v)] for v in called.trainable_variables]
        given = [tf.cast(by_place[i], self._dtypes[i]) for i in places]
        others = called.non_trainable_variables
        rest = [drawn[id(v)] if id(v) in drawn else self._other(v, weights, by_place) for v in others]
        with rows_instead(rows):
            output, rest, losses = called.stateless_call(given, rest, x, training=training, return_losses=True)
        ended = {id(v): value for v, value in zip(others, rest, strict=True)}
        after = list(weights)
        for identity, value in ended.items():
            if (i := self._own.get(identity)) is not None:
                after[i] = tf.cast(value, tf.float32)
        outputs = split_outputs(output).map(lambda tensor: tf.cast(tensor, tf.float32))
        own = tf.add_n([tf.zeros(()), *(tf.cast(loss, tf.float32) for loss in losses)])
        return outputs, own, after, [tf.cast(ended[id(seed)], tf.uint32) for seed in self._seeds]

    def _other(self, variable: keras.Variable, weights: Tensors, moving: Any) -> Any:
        """Return one of the model's variables that aren't trained: a statistic, or a frozen weight."""
        if (place := self._own.get(id(variable))) is not None:
            return tf.cast(weights[place], self._dtypes[place])
        frozen, adapter = _still(variable), self._adapters.get(id(variable))
        if adapter is None:
            return frozen

        def value(factor: keras.Variable) -> Any:
            return moving[self._own[id(factor)]] if id(factor) in self._own else _still(factor)

        return adapter.with_product(frozen, value)

    @property
    def loss_scale(self) -> float:
        """What to multiply a loss by, lest its gradients vanish in float16 (Micikevicius et al., ICLR 2018)."""
        half = any(layer.compute_dtype == "float16" for layer in all_layers(self.model))
        return 1024.0 if half else 1.0

    def replace_trainable(self, weights: Tensors, trainable: Tensors) -> Tensors:
        """Put trainable tensors back at their places."""
        after = list(weights)
        for i, value in zip(self._trainable, trainable, strict=True):
            after[i] = value
        return after

    def logits(self, weights: Tensors, seeds: Tensors, x: Any) -> Any:
        """Logits (n, classes) of inputs x, not in training."""
        return self.call(weights, self.trainable(weights), seeds, x, training=False)[0].logits


def _still(variable: keras.Variable) -> Any:
    """What a frozen variable holds: a constant where that is all that may be."""
    if not built_in_only():
        return tf.convert_to_tensor(variable.value)
    with tf.init_scope():
        value = variable.value.numpy()
    return tf.constant(value)
