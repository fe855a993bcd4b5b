"""The client: a few lines of Flower over ``clients.node.training``."""

import logging
import sys
import time
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from clients.node.node_config import class_of, engine_of, own_data, partition_of, state_checked
from clients.node.transport import from_records, to_records
from fedkd.protocol.messages import Answer, answer_fields, read_offer
from fedkd.protocol.state import Offer

log = logging.getLogger("fedkd.client")

app = ClientApp()


@app.query()
def hello(message: Message, context: Context) -> Message:
    """Say which client this is, so that the server can order clients alike in every engine.

    What a node of its own lacks is found here, before any training, and the server logs it: no TensorFlow is needed. A
    node that trains by a file has none of the task's data, and looks when the file has come.
    """
    node = state_checked(context.node_config)
    if engine_of(node) == "litert":
        return _reply(message, Answer(partition_of(node), device_class=class_of(node)))
    from fedkd.protocol.resolve import experiment_of
    from fedkd.tasks.own import warning_of

    experiment, partition = experiment_of(context.run_config), partition_of(node)
    own = own_data(node, experiment.task)
    experiment.client_data(partition, own)
    if own is not None and (odd := warning_of(own, experiment.task)):
        log.warning("%s: %s", node["data"], odd)
    return _reply(message, Answer(partition, device_class=class_of(node)))


@app.train()
def train(message: Message, context: Context) -> Message:
    """Take part in a round; on a real node in a process that lives for this one message."""
    offer = read_offer(from_records("offer", message))
    answer = _by_file(offer, context) if engine_of(context.node_config) == "litert" else _by_keras(offer, context)
    return _reply(message, answer)


def _by_keras(offer: Offer, context: Context) -> Answer:
    from fedkd.base import runtime

    fresh, started = "tensorflow" not in sys.modules, time.monotonic()
    runtime.configure()
    from clients.node.training import take_part
    from fedkd.protocol.resolve import experiment_of

    return take_part(offer, context, lambda: experiment_of(context.run_config), fresh, time.monotonic() - started)


def _by_file(offer: Offer, context: Context) -> Answer:
    """Train without TensorFlow, or ask for the file by which that is done."""
    fresh, started = "ai_edge_litert" not in sys.modules, time.monotonic()
    from clients.node.training import take_part
    from clients.node.training_files import TrainingFiles
    from fedkd.base import runtime
    from fedkd.protocol.node_experiment import NodeExperiment

    import_seconds = time.monotonic() - started
    runtime.one_thread()
    node = context.node_config
    files = TrainingFiles.of(node, offer.run)
    file = files.find(offer)
    if file is None:
        return Answer(partition_of(node), training_file=files.newest())
    test = str(node.get("test", ""))
    return take_part(offer, context, lambda: NodeExperiment(file, Path(test) if test else None), fresh, import_seconds)


def _reply(message: Message, answer: Answer) -> Message:
    return Message(to_records("answer", answer_fields(answer)), reply_to=message)
