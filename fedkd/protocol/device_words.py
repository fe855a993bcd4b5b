"""Which of a model's words its device files hold: a language model's table of all is most of a file."""

from typing import TYPE_CHECKING

import numpy as np

from fedkd.config.edge import USED
from fedkd.protocol.calibration import calibration_rows
from fedkd.protocol.experiment import Experiment

if TYPE_CHECKING:
    import keras


def check_words(experiment: Experiment) -> None:
    """Try on the untrained model what leaves words out of its device files.

    Raises:
        InputError: ``edge.words`` is ``used`` and the model has no word table, or several.
    """
    if experiment.config.edge.words == USED:
        from fedkd.compress.words import table_of

        table_of(experiment.shared_model)


def for_devices(experiment: Experiment, model: "keras.Model") -> "keras.Model":
    """Return a model with the words that ``edge.words`` asks for; the model itself where that is all.

    In use are the words of all examples that the server has but for those it tests on, and those whose vectors
    training has changed, as it does where clients meet them. Where none is known to be, all stay.

    Args:
        experiment: Of the first round.
        model: The shared one as it is in the end, or another with the same word table; not changed.

    Raises:
        InputError: See ``check_words``.
    """
    from fedkd.compress.words import table_of, with_words

    if experiment.config.edge.words != USED:
        return model
    before, table = table_of(experiment.shared_model), table_of(model)
    used = np.zeros(len(table), bool)
    for ids in _held(experiment):
        used[ids.ravel()] = True
    # Zeros are what pruning leaves.
    used |= ((table != before) & (table != 0)).any(axis=1)
    return with_words(model, np.flatnonzero(used)) if used.any() else model


def _held(experiment: Experiment) -> list[np.ndarray]:
    """Ids of examples, with labels and without."""
    train = experiment.task.train
    return [train.x, calibration_rows(experiment), *([] if train.unlabelled is None else [train.unlabelled])]
