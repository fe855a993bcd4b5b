"""A Keras model as a pure function of lists of tensors."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fedkd.base.keras_internals import all_layers
from fedkd.base.tensors import Weights
from fedkd.models.inspect import Outputs, get_weights, split_outputs
from fedkd.models.pool_first import pooled_first

Tensors = list[Any]


class Learner:
    """A model called with its weights as an argument, in the order of ``model.weights``.

    Weights are held, trained and shared in float32, whatever the dtype policy; the model sees them in its own dtypes.

    Args:
        model: Any Keras 3 model. Weights are matched by position and identity, never by name.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        own = {id(w): i for i, w in enumerate(model.weights)}
        self._trainable = [own[id(v)] for v in model.trainable_variables]
        self._dtypes = [w.dtype for w in model.weights]
        # What is called has the same variables and computes the same with less work.
        self._called = pooled_first(model)
        self._given = [own[id(v)] for v in self._called.trainable_variables]
        # Seeds of dropout and the like are variables, but no weights: they are drawn anew for each round.
        self._rest = [own.get(id(v)) for v in self._called.non_trainable_variables]
        self._seed_shapes = [v.shape for v in self._called.non_trainable_variables if id(v) not in own]

    def initial(self) -> Weights:
        """Copy of the weights the model was built with."""
        return get_weights(self.model)

    def seeds(self, rng: np.random.Generator) -> Weights:
        """Draw the states of the model's random layers."""
        return [rng.integers(2**32, size=s, dtype=np.uint32) for s in self._seed_shapes]

    def trainable(self, values: Sequence[Any]) -> Tensors:
        """Pick the trainable ones of a list in the order of ``model.weights``."""
        return [values[i] for i in self._trainable]

    def call(
        self, weights: Tensors, trainable: Tensors, seeds: Tensors, x: Any, training: bool
    ) -> tuple[Outputs, Any, Tensors, Tensors]:
        """Run the model.

        Returns:
            Its outputs in float32, the sum of its own losses (regularisers, ``add_loss``), all weights with statistics
            brought up to date, and seeds.
        """
        drawn = iter(seeds)
        by_place = dict(zip(self._trainable, trainable, strict=True))
        given = [tf.cast(by_place[i], self._dtypes[i]) for i in self._given]
        rest = [next(drawn) if i is None else tf.cast(weights[i], self._dtypes[i]) for i in self._rest]
        output, rest, losses = self._called.stateless_call(given, rest, x, training=training, return_losses=True)
        after = list(weights)
        for i, value in zip(self._rest, rest, strict=True):
            if i is not None:
                after[i] = tf.cast(value, tf.float32)
        outputs = split_outputs(output).map(lambda tensor: tf.cast(tensor, tf.float32))
        own = tf.add_n([tf.zeros(()), *(tf.cast(loss, tf.float32) for loss in losses)])
        fresh = [v for i, v in zip(self._rest, rest, strict=True) if i is None]
        return outputs, own, after, [tf.cast(seed, tf.uint32) for seed in fresh]

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
