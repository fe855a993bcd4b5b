"""``fedkd bench grid``: what a round costs besides the clients' work.

Clients that answer at once, with an update made beforehand, leave the server's part: Flower's messages and grid, the
strategy, and the protocol's own decoding, averaging and coding.
"""

import statistics
import time
from collections.abc import Mapping
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from fedkd import runtime
from fedkd.errors import RunError
from fedkd.exchange.codec import Header, encode
from fedkd.experiment import Experiment
from fedkd.messages import Answer, answer_fields, read_offer
from fedkd.tensors import Weights, subtract
from server.strategy import FedKD, Record
from sims.bench import work
from sims.bench.engine import whole_path
from sims.bench.measure import experiment
from sims.bench.report import Row
from sims.grid import LocalGrid

_ROUNDS = 4


def rows(clients: int, repeats: int, rate: float) -> list[Row]:
    """Measure the parts for each work, and their share of a round of the whole path.

    Args:
        clients: Number of clients.
        repeats: Runs of each.
        rate: Of the machine's matrix products, in 10⁹ operations a second.
    """
    return [row for name in work.SETTINGS for row in _rows(name, clients, repeats, rate)]


def _rows(name: str, clients: int, repeats: int, rate: float) -> list[Row]:
    held = experiment(name, clients, _ROUNDS)
    whole = statistics.median(s for _ in range(repeats) for s in whole_path(held).seconds)
    parts = {
        "Flower: messages and grid": statistics.median(_messages(held) for _ in range(repeats)),
        "the same, strategy, codec, mean": statistics.median(_server(held) for _ in range(repeats)),
        "whole round": whole,
    }
    return [
        {
            "work": name,
            "clients": clients,
            "part": part,
            "seconds_per_round": seconds,
            "ms_per_message": 1e3 * seconds / clients,
            "share_of_round": seconds / whole,
            "gflop": seconds * rate,
        }
        for part, seconds in parts.items()
    ]


def _grid(app: ClientApp, clients: int) -> LocalGrid:
    def context(node: int) -> Context:
        return Context(1, node, {"partition-id": node}, RecordDict(), {})

    return LocalGrid(app, {i: i for i in range(clients)}, context, runtime.cores())


def _messages(held: Experiment) -> float:
    """Seconds of a round of messages that carry what a round's do, and nothing else."""
    app, blob = ClientApp(), bytes(4 * sum(item.size for item in held.spec))

    @app.train()
    def train(message: Message, context: Context) -> Message:
        answer = Answer(int(context.node_config["partition-id"]), blob, 1)
        return Message(RecordDict({"answer": ConfigRecord(answer_fields(answer))}), reply_to=message)

    grid = _grid(app, held.config.clients)
    begun = time.perf_counter()
    content: dict[str, Any] = {"round": 1, "base": "", "energy": 0.95, "dense": blob}
    offers = [
        Message(RecordDict({"offer": ConfigRecord(dict(content))}), node, "train", group_id="1")
        for node in grid.get_node_ids()
    ]
    replies = list(grid.send_and_receive(offers))
    taken = time.perf_counter() - begun
    if failed := [reply.error.reason for reply in replies if reply.has_error()]:
        raise RunError(f"bench grid: {failed[0]}")
    return taken


def _server(held: Experiment) -> float:
    """Seconds of a round of the strategy with clients that answer at once; the first, which compiles, isn't counted."""
    app, config, blobs = ClientApp(), held.config, {}
    update = _typical_update(held)

    @app.train()
    def train(message: Message, context: Context) -> Message:
        offer = read_offer(message.content.config_records["offer"])
        if offer.base not in blobs:
            header = Header(offer.round, offer.base, config.method)
            blobs[offer.base] = encode(update, held.spec, header, offer.energy if config.exchange.svd_up else None)
        answer = Answer(int(context.node_config["partition-id"]), blobs[offer.base], 1)
        return Message(RecordDict({"answer": ConfigRecord(answer_fields(answer))}), reply_to=message)

    records: list[Record] = []
    strategy = FedKD(held, lambda record, _: records.append(record), timeout=60.0)
    grid = _grid(app, config.clients)
    strategy.start(grid, ArrayRecord(strategy.state.shared), config.rounds, timeout=60.0)
    return statistics.median(record["seconds"] for record in records[1:])


def _typical_update(held: Experiment) -> Weights:
    """What one client's training changes."""
    from fedkd.seeding import Purpose, generator

    state: Mapping[str, Weights] = held.trainer.initial_state()
    after, _ = held.trainer.fit(dict(state), held.client_data(0)[0], generator(0, Purpose.TRAINING, 1, 0))
    return subtract(after[held.config.exchange.shared], state[held.config.exchange.shared])
