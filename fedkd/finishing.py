"""Finishing rounds: the clients train the model that a device will run, with fewer channels and rounded numbers.

The server chooses the channels and offers say which; a client removes them from its own copy of the shared model, which
holds the same bits. From then on both sides exchange updates of the smaller model, learned ranges of activations and
statistics among them, so nothing is left to be fitted to data on the server.

Students then give logits alone: what else a model returns would be one more tensor that has to be held and rounded.
"""

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fedkd.config import Config
from fedkd.experiment import Experiment
from fedkd.models.inspect import get_weights, logits_model
from fedkd.tensors import Weights, digest

if TYPE_CHECKING:
    import keras


def finishes(config: Config, round_: int) -> bool:
    """Whether clients train another model in a round than in the first."""
    return config.edge.reshapes and round_ > config.rounds


def begins(config: Config, round_: int) -> bool:
    """Whether a round is the first in which they do."""
    return config.edge.reshapes and round_ == config.rounds + 1


def check(experiment: Experiment) -> dict[str, str]:
    """Try on the untrained model what finishing rounds will do.

    Returns:
        The layers whose rounding can't be learned, and why; none where ``edge.qat`` is off.

    Raises:
        InputError: The model can't be made aware of rounding, or has no channels to spare.
    """
    from fedkd.edge.qat import skipped
    from fedkd.edge.structured import in_turn

    edge = experiment.config.edge
    if edge.channels:
        in_turn(_plain(experiment, None), macs=1 - edge.channels)
    return skipped(_plain(experiment, None)) if edge.qat else {}


def at(experiment: Experiment, round_: int, gone: Sequence[int]) -> Experiment:
    """Return the experiment of a round: as it is, or with the model of the finishing rounds.

    Args:
        experiment: Of the first round.
        round_: From 1.
        gone: Numbers of the channels that the finishing rounds' model lacks, see ``fedkd.edge.channels``.
    """
    if not finishes(experiment.config, round_):
        return experiment
    key = tuple(gone)
    with _lock:
        if key not in experiment.finishing:
            experiment.finishing[key] = _finishing(experiment, key)
        return experiment.finishing[key]


def channels_to_remove(experiment: Experiment, shared: Weights) -> tuple[int, ...]:
    """Choose the channels that the finishing rounds do without, by the shared model's weights.

    Raises:
        InputError: The model has no channels to spare, see ``fedkd.edge.structured``.
    """
    from fedkd.edge.structured import least_important

    share = experiment.config.edge.channels
    return least_important(_plain(experiment, shared), macs=1 - share) if share else ()


def reshaped(experiment: Experiment, gone: Sequence[int], shared: Weights) -> Weights:
    """Return the weights that the finishing rounds begin with, not to be changed; ranges of activations are empty."""
    key = digest(shared), tuple(gone)
    with _lock:
        if key not in experiment.begun:  # all clients of a process come by
            experiment.begun.clear()
            model = _reshaped(_plain(experiment, shared), gone, experiment.config.edge.qat)
            experiment.begun[key] = get_weights(model)
        return experiment.begun[key]


def unrounded(experiment: Experiment, gone: Sequence[int], last: "keras.Model") -> "keras.Model":
    """Return the finishing rounds' model without the layers that round.

    Args:
        experiment: Of the first round.
        gone: See ``at``.
        last: As it was trained.
    """
    from fedkd.edge.qat import unaware

    if not experiment.config.edge.qat:
        return last
    return unaware(last, _reshaped(_plain(experiment, None), gone, aware=False))


# Of what an experiment keeps for all clients of a process.
_lock = threading.Lock()


def _plain(experiment: Experiment, shared: Weights | None) -> "keras.Model":
    return logits_model(experiment.shared_model, shared)


def _reshaped(model: "keras.Model", gone: Sequence[int], aware: bool) -> "keras.Model":
    from fedkd.edge.qat import quantize_aware
    from fedkd.edge.shrink import without

    smaller = without(model, gone) if gone else model
    return quantize_aware(smaller).model if aware else smaller


def _finishing(experiment: Experiment, gone: tuple[int, ...]) -> Experiment:
    """The experiment with another model in the place of the shared one; what it starts from comes with the round."""
    config = experiment.config
    builder: dict[str, Any] = {
        config.exchange.shared: lambda: _reshaped(_plain(experiment, None), gone, config.edge.qat)
    }
    models = replace(config.model, teacher_weights="", student_init="random")
    config = replace(config, model=models, loss=config.loss.of_logits)
    return replace(experiment, config=config, task=replace(experiment.task, **builder))
