"""The client: a few lines of Flower over ``clients.node.training``."""

import logging
import sys
import time

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from clients.node.node_config import own_data, partition_of, state_checked
from clients.node.transport import from_records, to_records
from fedkd.base import runtime
from fedkd.protocol.messages import Answer, answer_fields, read_offer
from fedkd.protocol.resolve import experiment_of
from fedkd.tasks.own import warning_of

log = logging.getLogger("fedkd.client")

app = ClientApp()


@app.query()
def hello(message: Message, context: Context) -> Message:
    """Say which client this is, so that the server can order clients alike in every engine.

    What a node of its own lacks is found here, before any training, and the server logs it: no TensorFlow is needed.
    """
    node = state_checked(context.node_config)
    experiment, partition = experiment_of(context.run_config), partition_of(node)
    own = own_data(node, experiment.task)
    experiment.client_data(partition, own)
    if own is not None and (odd := warning_of(own, experiment.task)):
        log.warning("%s: %s", node["data"], odd)
    return _reply(message, Answer(partition))


@app.train()
def train(message: Message, context: Context) -> Message:
    """Take part in a round; on a real node in a process that lives for this one message."""
    fresh, started = "tensorflow" not in sys.modules, time.monotonic()
    runtime.configure()
    from clients.node.training import take_part  # imports TensorFlow

    import_seconds = time.monotonic() - started
    offer = read_offer(from_records("offer", message))
    return _reply(message, take_part(offer, context, fresh, import_seconds))


def _reply(message: Message, answer: Answer) -> Message:
    return Message(to_records("answer", answer_fields(answer)), reply_to=message)
