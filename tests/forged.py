"""A federation whose clients answer at once with whatever a test makes them say; nothing is trained."""

from types import SimpleNamespace

import numpy as np
from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from clients.node.transport import from_records, to_records
from fedkd.base.tensors import TensorSpec
from fedkd.exchange.codec import encode
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.federation import header_of, new_server
from fedkd.protocol.messages import Answer, answer_fields, read_offer
from fedkd.protocol.resolve import resolve
from server.checkpoint import RunProgress
from server.strategy import FedKD
from sims.local_grid import LocalGrid

FIRST_NODE = 11
LIAR = 2


class Light(Experiment):
    """An experiment whose shared model is three tensors of nobody's network."""

    spec = (TensorSpec("kernel", (12, 8), 1), TensorSpec("bias", (8,), 0), TensorSpec("head", (8, 4), 1))
    trainer = SimpleNamespace(learners={"student": None})

    def initial_shared(self):
        return [np.zeros(item.shape, np.float32) for item in self.spec]

    def quality(self, weights, threads=1):
        return {"accuracy": float(np.isfinite(weights[0]).all())}


class Large(Light):
    """The same with a million numbers."""

    spec = (TensorSpec("kernel", (1000, 1000), 1), TensorSpec("bias", (1000,), 0))


def light(kind=Light, **settings):
    """An experiment of tests; ``guard__norm`` stands for ``guard.norm``."""
    known = {"clients": 4, "rounds": 3, "edge.sparsity": 0.0}
    found = resolve(known | {key.replace("__", "."): value for key, value in settings.items()})
    return kind(found.config, found.task, found.calibration, found.rows)


def drawn(experiment, *seed):
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 0.01, item.shape).astype(np.float32) for item in experiment.spec]


def honest(experiment, offer, partition):
    """Fields of a good answer, from the round and the partition alone."""
    header, coding = header_of(offer.round, offer.base, experiment), experiment.coding("up", offer.energy)
    blob = encode(drawn(experiment, offer.round, partition), experiment.spec, header, coding)
    return answer_fields(Answer(partition, blob, 10 + partition, {"loss_student": 1.0}))


class ForgedGrid(LocalGrid):
    """Gets each client's replies, none or several, from ``says(offer, partition)``: fields, or what it raises."""

    def __init__(self, clients, says):
        super().__init__(ClientApp(), {i: i + FIRST_NODE for i in range(clients)}, lambda node: Context, 1)
        self.says, self.timeouts = says, []

    def send_and_receive(self, messages, *, timeout=None):
        self.timeouts.append(timeout)
        return [reply for message in messages for reply in self._replies_to(message)]

    def _replies_to(self, message):
        offer = read_offer(from_records("offer", message))
        for said in self.says(offer, message.metadata.dst_node_id - FIRST_NODE):
            if isinstance(said, Exception):
                yield Message(Error(2, repr(said)), reply_to=message)
            elif isinstance(said, int):  # a node that nobody asked
                reply = Message(RecordDict({}), reply_to=message)
                reply.metadata.__dict__["_src_node_id"] = said
                yield reply
            else:
                yield Message(to_records("answer", said), reply_to=message)


def run(experiment, says, grid=None):
    """Records of all rounds, and the strategy after them; ``says(offer, partition)`` lists a client's replies."""
    records = []
    grid = grid or ForgedGrid(experiment.config.clients, says)
    strategy = FedKD(experiment, RunProgress(new_server(experiment)), grid, lambda ended, _: records.append(ended))
    try:
        strategy.run()
    except Exception as error:
        error.records = records
        raise
    return records, strategy


def with_liar(experiment, lie):
    """Who answers what where one client's replies are ``lie(offer, fields)``."""

    def says(offer, partition):
        fields = honest(experiment, offer, partition)
        return lie(offer, fields) if partition == LIAR else [fields]

    return says
