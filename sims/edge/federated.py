"""Training by the clients of a run: each on its own examples, while the server holds none."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import keras
import numpy as np

from fedkd.base.errors import InputError
from fedkd.base.seeding import Purpose, generator
from fedkd.config.config import Config
from fedkd.config.sections import LossConfig
from fedkd.exchange.blob import PayloadError
from fedkd.exchange.codec import decode
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.federation import begin_round, client_round, make_offer, new_client, new_server, server_round
from fedkd.protocol.state import ClientState, ServerState, Upload
from sims.edge.fine_tune import FineTune

ROUNDS = 5
# Of the rate that the run began with: what is trained here has been trained before.
_RATE = 0.3


def by_clients(experiment: Experiment, seed: int, rounds: int = ROUNDS) -> FineTune:
    """Return what trains a classifier alone, in rounds of FedAvg among the clients of an experiment.

    Args:
        experiment: Who holds which examples, and how clients train.
        seed: Beside the experiment's, of the order of examples and of who takes part.
        rounds: Their number.
    """

    def tune(model: keras.Model) -> None:
        task = replace(experiment.task, student=lambda: model)
        alone = replace(experiment, task=task, config=_alone(experiment.config, rounds))
        server, states = new_server(alone), dict[int, ClientState]()
        for _ in range(rounds):
            server = begin_round(server, alone)
            answers = _answers(server, states, alone, seed)
            states |= {client: state for client, (state, _) in answers.items()}
            uploads = [upload for _, upload in answers.values()]
            updates = [decode(upload.blob, alone.spec).tensors for upload in uploads]
            server, _ = server_round(server, updates, [float(upload.examples) for upload in uploads], 1.0, alone)
            server = replace(server, shared=_constrained(model, server.shared))
        model.set_weights(server.shared)

    return tune


def _answers(
    server: ServerState, states: Mapping[int, ClientState], alone: Experiment, seed: int
) -> dict[int, tuple[ClientState, Upload]]:
    """What each client that takes part in a round makes of it, side by side; in the order of their numbers."""
    offer = make_offer(server, None, 1.0, b"")  # nothing crosses a network: clients are given the base itself

    def work(client: int) -> tuple[ClientState, Upload]:
        state = states.get(client) or new_client(alone)
        rng = generator(alone.config.seed, Purpose.SEARCH, seed, offer.round, client)
        return client_round(state, server.base, offer, alone.client_data(client)[0], alone, rng)

    chosen = alone.sample(generator(alone.config.seed, Purpose.SEARCH, seed, server.round))
    try:
        with ThreadPoolExecutor(alone.threads) as pool:
            return dict(zip(chosen, pool.map(work, chosen), strict=True))
    except PayloadError as error:
        raise InputError(f"round {server.round} of training it by the clients failed: {error}") from None


def _alone(config: Config, rounds: int) -> Config:
    """The same federation with one model, which crosses the network whole."""
    exchange = replace(config.exchange, shared="student", up="dense", down="dense", bits=32, feedback=False)
    train = replace(config.train, models="student", student_lr=_RATE * config.train.student_lr)
    model = replace(config.model, student_init="random")
    return replace(config, rounds=rounds, model=model, train=train, exchange=exchange, loss=LossConfig())


def _constrained(model: keras.Model, weights: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What a model's constraints make of an average, such as weights of one cluster having one value."""
    return [
        np.asarray(value if weight.constraint is None else weight.constraint(value), np.float32)
        for weight, value in zip(model.weights, weights, strict=True)
    ]
