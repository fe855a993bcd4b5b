"""Finishing rounds: the clients train the model that a device will run, with fewer channels and rounded numbers.

The server chooses the channels and offers say which; a client removes them from its own copy of the shared model, which
holds the same bits. From then on both sides exchange updates of the smaller model, learned ranges of activations and
statistics among them, so nothing is left to be fitted to data on the server.

Students then give logits alone: what else a model returns would be one more tensor that has to be held and rounded.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fedkd.base.errors import InputError
from fedkd.base.tensors import Weights, digest
from fedkd.protocol.stages import FINISHING

if TYPE_CHECKING:
    import keras

    from fedkd.protocol.experiment import Experiment


def check(experiment: "Experiment") -> dict[str, str]:
    """Build what clients train, and try on the untrained model what finishing rounds will do.

    Returns:
        The layers whose rounding can't be learned, and why; none where ``edge.qat`` is off.

    Raises:
        InputError: The task's builders don't make the same models anew each time they are called, the models can't
            learn from each other, or the shared one can't be copied, or made aware of rounding, or it has no channels
            or units to spare, no words to leave out, or no kernels to round by examples.
    """
    from fedkd.compress.qat import skipped
    from fedkd.compress.structured import in_turn
    from fedkd.protocol.device_rounding import check_rounding
    from fedkd.protocol.device_words import check_words

    check_builders(experiment)
    experiment.locals()
    if experiment.config.ships:
        check_copied(experiment)
        check_words(experiment)
        check_rounding(experiment)
    edge = experiment.config.edge
    experiment.sub_model(1)
    experiment.shared_of(())  # none, of a model that has personal tensors
    if edge.channels:
        in_turn(_plain(experiment, None), macs=1 - edge.channels)
    return skipped(_plain(experiment, None)) if edge.qat else {}


def check_builders(experiment: "Experiment") -> None:
    """Build all models once more, so that a run that can't be repeated doesn't begin.

    Raises:
        InputError: A builder returns a model that it made before, or the seed doesn't decide its weights.
    """
    for role, model in experiment.models.items():
        again = experiment.build(role)
        if again is model or set(map(id, again.weights)) & set(map(id, model.weights)):
            raise InputError(f"the task's {role} must be built anew at each call, got layers that were made before")
        if digest(again.get_weights()) != digest(model.get_weights()):
            raise InputError(
                f"the task's {role} must have the same weights at each call with one seed, got others: use Keras'"
                " initializers, or numpy's global generator, which are seeded"
            )


def check_copied(experiment: "Experiment") -> None:
    """Copy the shared model as it will be copied to be saved, so that no run fails at its end.

    Raises:
        InputError: Keras can't make it again from its configuration, as with Lambda layers of a Python lambda.
    """
    try:
        _plain(experiment, None)
    except Exception as error:
        said, role = " ".join(str(error).split())[:150], experiment.shown
        raise InputError(
            f"the task's {role} can't be copied, so neither saved nor converted: {type(error).__name__}: {said} ... Use"
            " keras.ops in the place of a Lambda, or a layer class of your own that has get_config"
        ) from error


def channels_to_remove(experiment: "Experiment", shared: Weights) -> tuple[int, ...]:
    """Choose the channels that the finishing rounds do without, by the shared model's weights.

    Raises:
        InputError: The model has no channels to spare, see ``fedkd.compress.structured``.
    """
    from fedkd.compress.structured import least_important

    share = experiment.config.edge.channels
    return least_important(_plain(experiment, shared), macs=1 - share) if share else ()


def reshaped(experiment: "Experiment", removed_channels: Sequence[int], shared: Weights) -> Weights:
    """Return the weights that the finishing rounds begin with, read-only; ranges of activations are empty."""
    from fedkd.models.inspect import get_weights

    def begin() -> Weights:
        model = _reshaped(_plain(experiment, shared), removed_channels, experiment.config.edge.qat)
        # By the sizes before: the model that ships has other tensors now, and comes last.
        parts = experiment.parts(shared)
        others = [tensor for role in experiment.shared_roles if role != experiment.shown for tensor in parts[role]]
        return experiment.with_control(others + get_weights(model))

    return experiment.cache.begun(shared, tuple(removed_channels), begin)


def unrounded(experiment: "Experiment", removed_channels: Sequence[int], last: "keras.Model") -> "keras.Model":
    """Return the finishing rounds' model without the layers that round.

    Args:
        experiment: Of the first round.
        removed_channels: See ``finishing``.
        last: As it was trained.
    """
    from fedkd.compress.qat import unaware

    if not experiment.config.edge.qat:
        return last
    return unaware(last, _reshaped(_plain(experiment, None), removed_channels, aware=False))


def _plain(experiment: "Experiment", shared: Weights | None) -> "keras.Model":
    from fedkd.models.inspect import logits_model

    return logits_model(experiment.shared_model, None if shared is None else experiment.parts(shared)[experiment.shown])


def _reshaped(model: "keras.Model", removed_channels: Sequence[int], aware: bool) -> "keras.Model":
    from fedkd.compress.qat import quantize_aware
    from fedkd.compress.remove_channels import remove_channels

    smaller = remove_channels(model, removed_channels) if removed_channels else model
    return quantize_aware(smaller).model if aware else smaller


def finishing(experiment: "Experiment", removed_channels: tuple[int, ...]) -> "Experiment":
    """Return the experiment with another model in the place of the one that ships; its weights come with the round.

    Args:
        experiment: Of the rounds before.
        removed_channels: Numbers of the channels that the other model lacks, see ``fedkd.compress.channels``.
    """
    config, role = experiment.config, experiment.shown
    builder: dict[str, Any] = {
        role: lambda: _reshaped(_plain(experiment, None), removed_channels, config.edge.qat),
    }
    files: dict[str, Any] = {f"{role}_weights": ""}
    models = replace(config.model.without_lora(role), student_init="random", **files)
    config = replace(config, model=models, loss=config.loss.of_logits)
    return replace(experiment, config=config, task=replace(experiment.task, **builder), stage=FINISHING)
