"""A Keras model as a pure function of lists of tensors."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from fedkd.models.inspect import Outputs, get_weights, split_outputs
from fedkd.tensors import Weights

Tensors = list[Any]


class Learner:
    """A model called with its weights as an argument, in the order of ``model.weights``.

    Args:
        model: Any Keras 3 model with float32 weights. Matched by position and identity, never by name.
    """

    def __init__(self, model: keras.Model) -> None:
        self.model = model
        place = {id(w): i for i, w in enumerate(model.weights)}
        self._trainable = [place[id(v)] for v in model.trainable_variables]
        # Seeds of dropout and the like are variables, but no weights: they are drawn anew for each round.
        self._rest = [place.get(id(v)) for v in model.non_trainable_variables]
        self._seed_shapes = [v.shape for v in model.non_trainable_variables if id(v) not in place]

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
    ) -> tuple[Outputs, Tensors, Tensors]:
        """Run the model; returns outputs, all weights with statistics brought up to date, and seeds."""
        fresh = iter(seeds)
        rest = [next(fresh) if i is None else weights[i] for i in self._rest]
        output, rest = self.model.stateless_call(trainable, rest, x, training=training)
        after = list(weights)
        for i, value in zip(self._rest, rest, strict=True):
            if i is not None:
                after[i] = value
        return split_outputs(output), after, [v for i, v in zip(self._rest, rest, strict=True) if i is None]

    def replace_trainable(self, weights: Tensors, trainable: Tensors) -> Tensors:
        """Put trainable tensors back at their places."""
        after = list(weights)
        for i, value in zip(self._trainable, trainable, strict=True):
            after[i] = value
        return after

    def no_masks(self) -> Weights:
        """Masks of a model that isn't pruned: ones in the shapes of the trainable weights."""
        return [np.ones(v.shape, np.float32) for v in self.model.trainable_variables]

    def compiled_logits(self) -> Any:
        """A compiled function (weights, seeds, x) -> logits."""

        @tf.function
        def logits(weights: Tensors, seeds: Tensors, x: Any) -> Any:
            return self.call(weights, self.trainable(weights), seeds, x, training=False)[0].logits

        return logits
