"""``fedkd bench grid``: what a round costs besides the clients' work.

Clients that answer at once, with an update made beforehand, leave the server's part: Flower's messages and grid, the
strategy, and the protocol's own decoding, averaging and coding.
"""

import statistics
from collections.abc import Callable
from contextlib import closing
from functools import partial
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp

from clients.node.transport import from_records, to_records
from fedkd.base import runtime
from fedkd.base.errors import RunError
from fedkd.base.seeding import Purpose, generator
from fedkd.base.tensors import Weights, subtract
from fedkd.exchange.codec import encode
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.federation import header_of, new_server
from fedkd.protocol.messages import Answer, Fields, answer_fields, read_offer
from fedkd.results.round import Round
from server.checkpoint import RunProgress
from server.strategy import FedKD
from sims.bench import work
from sims.bench.engine import whole_path
from sims.bench.measure import make_experiment
from sims.bench.report import Row
from sims.bench.timing import median_seconds
from sims.local_grid import LocalGrid

_ROUNDS = 4


def rows(rate: float, clients: int, repeats: int) -> list[Row]:
    """Measure the parts for each work, and their share of a round of the whole path.

    Args:
        rate: Rate of the machine's matrix products, in 10⁹ operations a second.
        clients: Number of clients.
        repeats: Runs of each.
    """
    return [row for name in work.SETTINGS for row in _rows(name, clients, repeats, rate)]


def _rows(name: str, clients: int, repeats: int, rate: float) -> list[Row]:
    experiment = make_experiment(name, clients, _ROUNDS)
    whole = statistics.median(s for _ in range(repeats) for s in whole_path(experiment).seconds)
    parts = {
        "Flower: messages and grid": _messages(experiment, repeats),
        "the same, strategy, codec, mean": statistics.median(_server(experiment) for _ in range(repeats)),
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


def _grid(upload: Callable[[Fields], bytes], clients: int) -> LocalGrid:
    """A federation whose clients answer at once, with what ``upload`` makes of an offer."""
    app = ClientApp()

    @app.train()
    def train(message: Message, context: Context) -> Message:
        blob = upload(from_records("offer", message))
        answer = Answer(int(context.node_config["partition-id"]), blob, 1)
        return Message(to_records("answer", answer_fields(answer)), reply_to=message)

    def context(node: int) -> Context:
        return Context(1, node, {"partition-id": node}, RecordDict(), {})

    return LocalGrid(app, {i: i for i in range(clients)}, context, runtime.cores())


def _messages(experiment: Experiment, repeats: int) -> float:
    """Seconds of a round of messages that carry what a round's do, and nothing else."""
    blob = bytes(4 * sum(item.size for item in experiment.spec))
    content: dict[str, Any] = {"round": 1, "base": "", "energy": 0.95, "dense": blob}

    def exchange(grid: LocalGrid) -> None:
        offers = [Message(to_records("offer", content), node, "train", group_id="1") for node in grid.get_node_ids()]
        for reply in grid.send_and_receive(offers):
            if reply.has_error():
                raise RunError(f"bench grid: {reply.error.reason}")

    with closing(_grid(lambda _: blob, experiment.config.clients)) as grid:
        return median_seconds(partial(exchange, grid), repeats)


def _server(experiment: Experiment) -> float:
    """Seconds of a round of the strategy with clients that answer at once; the first, which compiles, isn't counted."""
    config, update = experiment.config, _typical_update(experiment)
    blobs: dict[str, bytes] = {}

    def upload(fields: Fields) -> bytes:
        offer = read_offer(fields)
        if offer.base not in blobs:
            header = header_of(offer.round, offer.base, experiment)
            blobs[offer.base] = encode(update, experiment.spec, header, experiment.coding("up", offer.energy))
        return blobs[offer.base]

    rounds: list[Round] = []
    grid = _grid(upload, config.clients)
    FedKD(experiment, RunProgress(new_server(experiment)), grid, lambda ended, _: rounds.append(ended)).run()
    return statistics.median(ended.seconds or 0.0 for ended in rounds[1:])


def _typical_update(experiment: Experiment) -> Weights:
    """What one client's training changes."""
    trainer, shared = experiment.local().trainer, experiment.config.exchange.shared
    state = trainer.initial_state()
    after, _ = trainer.fit(state, experiment.client_data(0)[0], generator(0, Purpose.TRAINING, 1, 0))
    return subtract(after[shared], state[shared])
