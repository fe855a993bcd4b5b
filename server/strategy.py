"""FedKD as a Flower strategy: messages out, answers in; the protocol itself is in ``fedkd.federation``."""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fedkd.errors import RunError
from fedkd.exchange.codec import Payload, encode
from fedkd.experiment import Experiment
from fedkd.federation import begin_round, failed_round, forget_steps, header_of, make_offer, new_server
from fedkd.federation import server_round as average
from fedkd.finishing import at
from fedkd.messages import Answer, offer_fields
from fedkd.seeding import Purpose, generator
from fedkd.tensors import Weights, digest
from server.guard import Guard, Received

log = logging.getLogger("fedkd.server")

Record = dict[str, Any]


class NoAnswerError(RunError):
    """Too few clients came, or sent an update that could be used."""


class FedKD(Strategy):
    """Runs the FedKD protocol, or any method that is a configuration of it.

    Args:
        experiment: What is trained.
        on_round: Called with the record of each round as it ends, and the shared model after it.
    """

    def __init__(self, experiment: Experiment, on_round: Callable[[Record, Weights], None]) -> None:
        self.experiment, self.on_round = experiment, on_round
        self.state = new_server(experiment)
        self.quality: dict[int, dict[str, float]] = {}
        self._nodes: dict[int, int] = {}
        self._held: dict[int, int] = {}
        self._guard = Guard(experiment.config.guard)
        self._failed = 0
        self._down_bytes = 0
        self._begun = time.monotonic()

    @property
    def _now(self) -> Experiment:
        """The experiment of the round under way."""
        return at(self.experiment, self.state.round, self.state.gone)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Begin the round and make an offer to each client that takes part in it."""
        self._grid, self._started, self._down_bytes = grid, time.monotonic(), 0
        self._guard.begin(server_round)
        self._wait_for_clients()
        self._ends = time.monotonic() + self.experiment.config.guard.deadline
        self.state = begin_round(self.state, self.experiment)
        header = header_of(server_round, self.state.digest, self._now)
        self._dense = encode(self.state.base, self._now.spec, header)
        self.state = forget_steps(self.state, len(self._dense))
        self._asked = {partition: self._nodes[partition] for partition in self._sample(server_round)}
        return [self._offer(partition, self._held.get(partition, 0)) for partition in self._asked]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Serve clients that asked for the dense model, then check, decode and average all updates.

        Where there are too few, the model stays as it is.

        Raises:
            NoAnswerError: That happened too often in a row; it says what was wrong first.
        """
        received = self._received(replies)
        broadcast = self._average(received)
        for item in received:
            self._held[item.answer.partition] = server_round
        record = self._record(server_round, received, broadcast)
        self.on_round(record, self.state.shared)
        self._count_failure(server_round, received, broadcast)
        # Where nothing is shared, only rounds in which clients measure their teachers have an accuracy.
        measured = record["shared_accuracy"]
        return ArrayRecord(self.state.shared), MetricRecord({} if measured is None else {"accuracy": measured})

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Nothing to send: quality figures travel in the train replies."""
        return []

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Nothing was sent."""
        return None

    def _received(self, replies: Iterable[Message]) -> list[Received]:
        """Updates that can be used, of clients that needed the dense model too."""
        answers = self._guard.answers(replies, self._asked)
        if behind := {a.partition: self._nodes[a.partition] for a in answers if a.needs_dense}:
            offers = [self._offer(partition, None) for partition in behind]
            left = max(0.0, self._ends - time.monotonic())
            second = self._guard.answers(self._grid.send_and_receive(offers, timeout=left), behind)
            self._guard.stuck(second, behind)
            answers = answers + second
        return self._guard.updates(answers, self._asked, self.state, self._now)

    def _average(self, received: list[Received]) -> Payload | None:
        """Make the next shared model of all updates, or leave it as it is where they are too few; the broadcast."""
        config = self.experiment.config
        if len(received) < config.guard.answers:
            self.state = failed_round(self.state)
            return None
        uniform = config.exchange.weighting == "uniform"
        weights = [1.0 if uniform else float(r.answer.examples) for r in received]
        updates, energy = [r.payload.tensors for r in received], self.experiment.energy(self.state.round)
        self.state, broadcast = average(self.state, updates, weights, energy, self._now)
        return broadcast

    def _count_failure(self, round_: int, received: list[Received], broadcast: Payload | None) -> None:
        """End the run where too many rounds in a row, or all there are, had too few answers."""
        self._failed = 0 if broadcast else self._failed + 1
        if broadcast:
            return
        config, refused = self.experiment.config, self._guard.refused
        needed = f"{len(received)} usable updates where a round needs {config.guard.answers}"
        found = needed if received else "no usable update from any client"
        text = f"round {round_}: {found}" + (f": {refused[0]['why']}" if refused else "")
        if self._failed >= min(config.guard.failed_rounds, config.total_rounds):
            raise NoAnswerError(text + (f" ({self._failed} rounds in a row)" if self._failed > 1 else ""))
        log.warning("%s; the model stays as it is", text)

    def summary(self) -> None:
        """Log what is about to run."""
        config = self.experiment.config
        log.info("%s on %s: %d clients, %d rounds", config.method, config.task, config.clients, config.rounds)

    def _wait_for_clients(self) -> None:
        """Learn which node is which client; bounded, where Flower's own sampling would wait for ever."""
        wanted, patience = self.experiment.config.clients, self.experiment.config.guard.patience
        ends = time.monotonic() + patience
        self._greet(wanted, patience)
        while len(self._nodes) < wanted:
            if (left := ends - time.monotonic()) <= 0:
                refused = "".join(f"; {entry['why']}" for entry in self._guard.refused[:1])
                raise NoAnswerError(f"{len(self._nodes)} of {wanted} clients came within {patience:g} s{refused}")
            time.sleep(min(1.0, left))
            self._greet(wanted, max(0.0, ends - time.monotonic()))

    def _greet(self, wanted: int, left: float) -> None:
        """Ask nodes that aren't known yet which client they are, unless all clients are there or the grid knows."""
        if len(self._nodes) >= wanted:
            return
        if known := getattr(self._grid, "partitions", None):  # a simulation's: no need to ask every node
            self._nodes |= known
            return
        unknown = sorted(set(self._grid.get_node_ids()) - set(self._nodes.values()))
        hello = [self._message({}, node, "query", left) for node in unknown]
        replies = self._grid.send_and_receive(hello, timeout=left) if hello else []
        self._nodes = self._guard.introduced(replies, self._nodes, wanted)

    def _sample(self, round_: int) -> list[int]:
        """Partition ids that take part in a round, ascending; the seed and the round alone decide."""
        return self.experiment.sample(generator(self.experiment.config.seed, Purpose.SAMPLING, round_))

    def _offer(self, partition: int, held: int | None) -> Message:
        """Offer the steps since the round a client holds, or the dense model where that is None."""
        energy = self.experiment.energy(self.state.round)
        offer = make_offer(self.state, held, energy, self._dense)
        self._down_bytes += offer.size
        return self._message(offer_fields(offer), self._nodes[partition], "train", self._ends - time.monotonic())

    def _message(self, fields: dict[str, Any], node: int, kind: str, seconds: float) -> Message:
        """Make a message that a node which comes back later than in some seconds needn't work on any more."""
        content, live = RecordDict({"offer": ConfigRecord(fields)}), max(1.0, seconds)
        return Message(content, dst_node_id=node, message_type=kind, ttl=live, group_id=str(self.state.round))

    def _record(self, round_: int, received: list[Received], broadcast: Payload | None) -> Record:
        """Everything worth knowing of a round, as one line of ``history.jsonl``."""
        config, answers = self.experiment.config, [r.answer for r in received]
        for answer in answers:
            self.quality |= {answer.partition: q} if (q := _prefixed(answer.metrics, "teacher")) else {}
        measured = self.quality if self.experiment.evaluates(round_) else {}
        return {
            "round": round_,
            "rounds": config.total_rounds,
            "phase": "train" if round_ <= config.rounds else "finish",
            "sparsity": self.experiment.sparsity(round_),
            "energy": self.experiment.energy(round_),
            "participants": [a.partition for a in answers],
            "closed": broadcast is not None,
            **self._shared_figures(measured),
            **teacher_figures(measured),
            "loss": {
                r: _mean([a.metrics[k] for a in answers if (k := f"loss_{r}") in a.metrics])
                for r in self.experiment.trainer.learners
            },
            **self._bytes(answers),
            "ranks": _ranks(self._now, received, broadcast) if broadcast else {},
            "refused": self._guard.refused,
            "seconds": time.monotonic() - self._started,
            "elapsed": time.monotonic() - self._begun,
            "shared_sha256": digest(self.state.shared),
        }

    def _bytes(self, answers: list[Answer]) -> dict[str, int]:
        """Bytes of payload of a round; where no model is shared, blobs are headers without any."""
        up, down = sum(len(a.blob) for a in answers), self._down_bytes
        return {"up_bytes": up, "down_bytes": down} if self.experiment.shares else {"up_bytes": 0, "down_bytes": 0}

    def _shared_figures(self, measured: dict[int, dict[str, float]]) -> dict[str, float | None]:
        """Quality of the shared model; where none is shared, the mean of the clients' own."""
        if self.experiment.shares:
            role, threads = self.experiment.config.exchange.shared, self.experiment.threads
            found: dict[str, float | None] = dict(self._now.quality(role, self.state.shared, threads))
        else:
            names = {"teacher": "accuracy", "teacher_f1": "f1"}
            found = {n: _mean([q[key] for q in measured.values() if key in q]) for key, n in names.items()}
        return {f"shared_{name}": value for name, value in found.items() if name == "accuracy" or value is not None}


def teacher_figures(quality: dict[int, dict[str, float]]) -> dict[str, float | None]:
    """Mean and spread over clients of the accuracy of their teachers, None where nothing was measured.

    Where there are two classes, their mean F1 too.
    """
    on_test = [q["teacher"] for q in quality.values() if "teacher" in q]
    personal = [q["teacher_personal"] for q in quality.values() if "teacher_personal" in q]
    f1 = [q["teacher_f1"] for q in quality.values() if "teacher_f1" in q]
    figures = {
        "teacher_mean": _mean(on_test),
        "teacher_std": float(np.std(on_test)) if on_test else None,
        "teacher_personal": _mean(personal),
    }
    return figures | ({"teacher_f1": _mean(f1)} if f1 else {})


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


def _prefixed(metrics: Any, prefix: str) -> dict[str, float]:
    return {k: v for k, v in metrics.items() if k.startswith(prefix)}


def _ranks(experiment: Experiment, received: list[Received], broadcast: Payload) -> dict[str, list[float | None]]:
    """For each kernel: rank of the broadcast, mean rank of the updates (None where all went dense), full rank."""
    ups = np.array([r.payload.ranks for r in received], float)
    table: dict[str, list[float | None]] = {}
    for i, item in enumerate(experiment.spec):
        full = min(item.matrix)
        if full > 1:
            dense = ups[:, i] < 0
            up = None if dense.all() else float(np.where(dense, full, ups[:, i]).mean())
            table[item.name] = [None if broadcast.ranks[i] < 0 else broadcast.ranks[i], up, full]
    return table
