"""The compiled training of all clients alone, on as many threads as cores: what its kernels leave of the floor.

Batches are ready as tensors before the clock starts, and what clients keep stays in tensors: no Python but one call per
client. The whole path can get no faster than this.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import tensorflow as tf

from fedkd.base import runtime
from fedkd.base.tensors import Weights
from fedkd.distill.compiled import Compiled
from fedkd.distill.keras_trainer import Bounds
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.local import keras_trainer
from sims.bench import work
from sims.bench.bare import tensors
from sims.bench.measure import Measured, batch_order
from sims.bench.timing import timed


def training_alone(experiment: Experiment) -> Measured:
    """Train every client in turn and average the students; the training alone is measured."""
    trainer, shared = keras_trainer(experiment), experiment.config.exchange.shared
    step = Compiled(trainer.steps)
    states = [tensors(trainer.initial_state()) for _ in range(experiment.config.clients)]
    rate, shares = tf.ones(()), tf.fill((work.BATCHES, work.BATCH), 1 / work.BATCH)
    seconds: list[float] = []

    def train(state: Any, batches: Any) -> Any:
        carry: Any = (state, {role: [] for role in trainer.roles})  # no random layers
        with runtime.inline_operations():
            (after, _), _ = step(0, carry, Bounds({}, {}, {}), rate, *batches)
        return after

    def batches(round_: int, client: int) -> Any:
        data, rows = experiment.client_data(client)[0], batch_order(experiment, round_, client)
        return (*tensors((data.x[rows], data.y[rows])), shares)

    student: Weights = experiment.initial_shared()
    train(states[0], batches(1, 0))  # compiles, before the threads do
    with ThreadPoolExecutor(runtime.cores()) as pool:
        for round_ in range(1, experiment.config.rounds + 1):
            base = tensors(student)
            given = [{**state, shared: base} for state in states]
            lots = [batches(round_, client) for client in range(len(states))]
            with timed(seconds):
                states = list(pool.map(train, given, lots))
            student = [np.mean(arrays, 0) for arrays in zip(*(state[shared] for state in states), strict=True)]
    return Measured(seconds[1:], student)
