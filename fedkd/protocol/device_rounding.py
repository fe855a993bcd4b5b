"""How dense kernels of 4 bits in a run's device files are rounded: to the nearest, or by what they read of examples."""

from typing import TYPE_CHECKING

import numpy as np

from fedkd.config.edge import AWQ, NEAREST
from fedkd.protocol.experiment import Experiment

if TYPE_CHECKING:
    import keras


def check_rounding(experiment: Experiment) -> None:
    """Try on the untrained model what rounds its kernels by examples.

    Raises:
        InputError: ``edge.rounding`` asks for it, and the model has no kernel that it would round, or its graph can't
            be seen.
    """
    if experiment.config.edge.rounding != NEAREST:
        from fedkd.compress.dense_kernels import dense_kernels
        from fedkd.compress.scalable import scalable
        from fedkd.models.graph import functional
        from fedkd.models.inspect import logits_model

        model = functional(logits_model(experiment.shared_model))
        dense_kernels(model)
        if experiment.config.edge.rounding == AWQ:
            scalable(model)


def for_four_bits(experiment: Experiment, model: "keras.Model", *held: np.ndarray) -> "keras.Model":
    """Return the model that ``int4`` is made of as ``edge.rounding`` asks for it.

    That is the model itself where kernels are rounded to the nearest, or none has 1,024 numbers. Steps that the shared
    model says are padding don't count.

    Args:
        experiment: Of the first round.
        model: The shared one as it is in the end, or a smaller one of the same input; not changed.
        held: Examples (n, *input_shape) of each who holds some: the server, or clients, whose sums are added up.

    Raises:
        InputError: There is no example, or the model holds what can't be rounded; see ``fedkd.gptq``.
    """
    from fedkd.compress.awq import awq
    from fedkd.compress.dense_kernels import all_dense_kernels
    from fedkd.compress.gptq import gptq
    from fedkd.compress.moments import merged, moments

    rounding = experiment.config.edge.rounding
    if rounding == NEAREST or not any(kernel.worth for kernel in all_dense_kernels(model)):
        return model
    pairs = [(x, _real(experiment, x)) for x in held if len(x)]
    shown = merged(*(moments(model, x, real) for x, real in pairs if real is None or real.any()))
    return (awq if rounding == AWQ else gptq)(model, shown)


def _real(experiment: Experiment, examples: np.ndarray) -> np.ndarray | None:
    """Which steps of the examples aren't padding, bool (n, steps); None where the shared model doesn't say."""
    import keras

    from fedkd.models.inspect import split_outputs

    model = experiment.shared_model
    mask = split_outputs(model.output).mask
    if mask is None:
        return None
    return np.asarray(keras.Model(model.inputs[0], mask)(examples, training=False)) > 0
