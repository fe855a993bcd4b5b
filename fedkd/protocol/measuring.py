"""How often clients measure their teachers, which takes a part of their work."""

import math
from typing import TYPE_CHECKING

from fedkd.data.dataset import EVALUATION_BATCH

if TYPE_CHECKING:
    from fedkd.protocol.experiment import Experiment

_SHARE = 0.1  # of a client's work that may go into measuring its teacher, where ``train.evaluate_every`` is 0


def evaluation_interval(experiment: "Experiment") -> int:
    """Return the rounds from one measurement of the teachers to the next: as configured, or so that they stay cheap.

    Where nobody knows how much the nodes have, it is all rounds: teachers are measured in the last one.

    A client trains ``epochs`` times on its examples and would measure on the whole test set and what it holds out, in
    full batches; a forward pass costs a third of a training step. Of classes with teachers the one that trains least
    decides.
    """
    config, rows = experiment.config, experiment.rows
    train = config.train
    if not rows:
        return train.evaluate_every or config.rounds
    examples = sum(map(len, rows)) / len(rows)
    sets = (len(experiment.task.test), train.holdout * examples)
    measured = EVALUATION_BATCH * sum(math.ceil(size / EVALUATION_BATCH) for size in sets)
    epochs = min([train.epochs, *(held.of(train).epochs for held in config.classes if held.teaches)])
    trained = epochs * (1 - train.holdout) * examples
    return train.evaluate_every or math.ceil(measured / 3 / (_SHARE * trained))
