"""Training by the clients of a run: each on its own examples, while the server holds none."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import keras
import numpy as np

from fedkd.base.errors import InputError
from fedkd.base.seeding import Purpose, generator
from fedkd.config.config import Config
from fedkd.config.sections import LossConfig
from fedkd.exchange.blob import PayloadError
from fedkd.models.inspect import set_weights, unfrozen
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.reference import Federation
from sims.edge.fine_tune import FineTune

ROUNDS = 5
# Of the rate that the run began with: what is trained here has been trained before.
_RATE = 0.3


def by_clients(experiment: Experiment, seed: int, rounds: int = ROUNDS) -> FineTune:
    """Return what trains a model alone, in rounds of FedAvg among the clients of an experiment.

    Args:
        experiment: Who holds which examples, and how clients train.
        seed: Beside the experiment's, of the order of examples and of who takes part.
        rounds: Their number.
    """

    def tune(model: keras.Model) -> None:
        task = replace(experiment.task, student=lambda: model)
        alone = replace(experiment, task=task, config=_alone(experiment.config, rounds))
        federation = Federation(alone, seed_of=partial(_examples, alone, seed), threads=alone.threads, hand_over=True)
        for round_ in range(1, rounds + 1):
            try:
                federation.round(alone.sample(generator(alone.config.seed, Purpose.SEARCH, seed, round_)))
            except PayloadError as error:
                raise InputError(f"round {round_} of training it by the clients failed: {error}") from None
            shared = _constrained(model, federation.server.shared)
            federation.server = replace(federation.server, shared=shared)
        set_weights(model, federation.server.shared)

    return tune


def _examples(alone: Experiment, seed: int, round_: int, client: int) -> np.random.Generator:
    """What a client draws the order of its examples from."""
    return generator(alone.config.seed, Purpose.SEARCH, seed, round_, client)


def _alone(config: Config, rounds: int) -> Config:
    """The same federation with one model, which crosses the network whole."""
    exchange = replace(config.exchange, shared="student", up="dense", down="dense", bits=32, feedback=False)
    exchange = replace(exchange, weighting="examples", momentum=0.0, units=1.0, personal="")
    train = replace(config.train, models="student", student_lr=_RATE * config.train.student_lr)
    train = replace(train, control_variates=False, teacher_share=0.0, unlabelled="")
    plain = config.model.without_lora("teacher").without_lora("student")
    model = replace(plain, student_weights="", student_init="random")
    return replace(config, rounds=rounds, model=model, train=train, exchange=exchange, loss=LossConfig())


def _constrained(model: keras.Model, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What a model's constraints make of an average, such as weights of one cluster having one value."""
    return [
        np.asarray(value if weight.constraint is None else weight.constraint(value), np.float32)
        for weight, value in zip(unfrozen(model), weights, strict=True)
    ]
