"""A client's part in a round: its state, its data, and the pure functions of ``fedkd.protocol.federation``."""

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from flwr.app import Context

from clients.node.node_config import class_of, own_data, partition_of, state_dir
from clients.node.state_file import StateFile, pooled_path
from clients.node.state_folder import StateFolder, owner_of
from fedkd.base.memory import peak_memory
from fedkd.base.seeding import Purpose, generator
from fedkd.protocol.federation import client_round, follow, new_client
from fedkd.protocol.local import Local
from fedkd.protocol.messages import PEAK_BYTES, SECONDS, Answer
from fedkd.protocol.rules import Rules
from fedkd.protocol.state import ClientState, Offer

log = logging.getLogger("fedkd.client")


def take_part(offer: Offer, context: Context, known: Callable[[], Rules], fresh: bool, import_seconds: float) -> Answer:
    """Take part in a round, or ask for the dense model where the offer can't be followed.

    Args:
        offer: The server's offer.
        context: The node's.
        known: Returns the experiment as the node knows it; what that takes is part of the work.
        fresh: Whether this process has begun with this message.
        import_seconds: How long its imports took, for the answer's metrics.
    """
    started, experiment = time.monotonic(), known()
    partition, now = partition_of(context.node_config), experiment.at(offer.round, offer.removed_channels)
    if now is None:
        return Answer(partition)
    said = class_of(context.node_config)
    stages = _stages(offer, experiment, partition, said)
    (local := stages[0]).trainer.unrolls = not fresh
    stores = [_store(context, offer, experiment, stage) for stage in stages]
    state = _best([store.load(offer.round) for store in stores], offer.round) or new_client(stages[-1])
    base = follow(state, offer, experiment)
    if base is None:
        log.warning("round %d: can't go on from round %d, so it asks for the dense model", offer.round, state.round)
        return Answer(partition)
    state = replace(state, base=[])  # that of the round before, as large as the shared model
    own = own_data(context.node_config, experiment.task)
    alone = fresh and own is not None  # in a simulation the process is that of other clients, too
    data, held_out = experiment.client_data(partition, own)
    del own  # copied, and large on a small board
    rng = generator(experiment.config.seed, Purpose.TRAINING, offer.round, partition)
    state, upload = client_round(state, base, offer, data, local, rng)
    del data  # before those that teachers are measured on are read
    stores[0].save(state)
    metrics = {f"loss_{role}": loss for role, loss in upload.losses.items()} | {"import_seconds": import_seconds}
    if experiment.evaluates(offer.round):
        metrics |= local.teacher_quality(local.teacher(state), held_out)
        metrics |= local.shared_quality(base, held_out)
    if alone:
        with suppress(OSError):
            metrics[PEAK_BYTES] = float(peak_memory())
    metrics[SECONDS] = time.monotonic() - started
    return Answer(partition, upload.blob, upload.examples, metrics)


def _stages(offer: Offer, experiment: Rules, partition: int, said: str) -> list[Local]:
    """Return the client's part in the stage of a round, and in those before: what it kept then has other shapes."""
    rounds = (offer.round, min(offer.round, experiment.config.rounds), 1)
    known = (experiment.at(round_, offer.removed_channels) for round_ in rounds)
    return list(dict.fromkeys(now.local(partition, said) for now in known if now))


def _best(found: list[ClientState | None], round_: int) -> ClientState | None:
    """The newest of an earlier round; else the oldest there is, where the server has gone back further than all."""
    states = [state for state in found if state]
    earlier = [state for state in states if state.round < round_]
    return max(earlier, key=_round, default=None) or min(states, key=_round, default=None)


def _round(state: ClientState) -> int:
    return state.round


def _store(context: Context, offer: Offer, experiment: Rules, stage: Local) -> StateFolder | StateFile:
    """Where the client keeps its state: a folder of its own, or its record in a simulation's file of all of its kind.

    Args:
        context: The node's.
        offer: Says which run it is.
        experiment: As the node knows it.
        stage: The client's part in a stage of it.
    """
    node = context.node_config
    run, partition = owner_of(offer.run, experiment.fingerprint, stage.kind), partition_of(node)
    if pool := node.get("state-file"):
        path = pooled_path(Path(str(pool)), stage.experiment.stage, stage.kind)
        return StateFile(path, run, partition, new_client(stage))
    return StateFolder(state_dir(node, offer.run) / f"client-{partition}", run)
