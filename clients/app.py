"""The client: a few lines of Flower over ``fedkd.federation``."""

import tempfile
import time
from pathlib import Path

from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from clients.node import check_state, own_data
from clients.pool import PooledVault
from clients.vault import Vault
from fedkd import runtime
from fedkd.experiment import Experiment, experiment_of
from fedkd.federation import client_round, follow, new_client
from fedkd.finishing import at
from fedkd.messages import Answer, answer_fields, read_offer
from fedkd.seeding import Purpose, generator

app = ClientApp()


@app.query()
def hello(message: Message, context: Context) -> Message:
    """Say which client this is, so that the server can order clients alike in every engine.

    What a node of its own lacks is found here, before any training, and the server logs it: no TensorFlow is needed.
    """
    check_state(context.node_config)
    experiment, partition = experiment_of(context.run_config), _partition(context)
    experiment.client_data(partition, own_data(context.node_config, experiment.task))
    return _reply(message, Answer(partition))


@app.train()
def train(message: Message, context: Context) -> Message:
    """Take part in a round, or ask for the dense model where the offer can't be followed."""
    import_seconds = _import_tensorflow()
    experiment = experiment_of(context.run_config)
    offer = read_offer(message.content.config_records["offer"])
    partition = _partition(context)
    now = at(experiment, offer.round, offer.gone)
    vault = _vault(context, experiment, now)
    # What a client held before the finishing rounds has other shapes, and a place of its own.
    state = vault.load() or (now is not experiment and _vault(context, experiment, experiment).load())
    state = state or new_client(experiment)
    base = follow(state, offer, experiment)
    if base is None:
        return _reply(message, Answer(partition))
    data, held = experiment.client_data(partition, own_data(context.node_config, experiment.task))
    rng = generator(experiment.config.seed, Purpose.TRAINING, offer.round, partition)
    state, upload = client_round(state, base, offer, data, now, rng)
    vault.save(state)
    metrics = {f"loss_{role}": loss for role, loss in upload.losses.items()} | {"import_seconds": import_seconds}
    if experiment.evaluates(offer.round):
        metrics |= now.teacher_quality(state.local.get("teacher"), held)
    return _reply(message, Answer(partition, upload.blob, upload.examples, metrics))


def _import_tensorflow() -> float:
    """Import what training needs, and return the seconds it took: on a real node each message has a new process."""
    started = time.monotonic()
    runtime.configure()
    import keras  # noqa: F401

    return time.monotonic() - started


def _reply(message: Message, answer: Answer) -> Message:
    return Message(RecordDict({"answer": ConfigRecord(answer_fields(answer))}), reply_to=message)


def _partition(context: Context) -> int:
    return int(context.node_config["partition-id"])


def _vault(context: Context, experiment: Experiment, stage: Experiment) -> Vault | PooledVault:
    """Where the client keeps its state: a file of its own, or its record in a simulation's file of all clients.

    Args:
        context: Of the client.
        experiment: Of the first round.
        stage: The same, or that of the finishing rounds.
    """
    run, partition = f"{context.run_id}:{experiment.fingerprint}", _partition(context)
    if pool := context.node_config.get("state-file"):
        path = Path(f"{pool}{'' if stage is experiment else '.finishing'}")
        return PooledVault(path, run, partition, new_client(stage))
    default = Path(tempfile.gettempdir()) / f"fedkd-{context.run_id}"
    folder = Path(str(context.node_config.get("state-dir", default)))
    return Vault(folder / f"client-{partition}.safetensors", run)
