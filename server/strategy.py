"""FedKD as a Flower strategy: messages out, answers in; the protocol itself is in ``fedkd.federation``."""

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy

from fedkd.errors import RunError
from fedkd.exchange.blob import PayloadError
from fedkd.exchange.codec import Payload, decode, encode
from fedkd.experiment import Experiment
from fedkd.federation import begin_round, forget_steps, header_of, known_bases, make_offer
from fedkd.federation import server_round as average
from fedkd.finishing import at
from fedkd.messages import Answer, offer_fields, read_answer
from fedkd.seeding import Purpose, generator
from fedkd.tensors import digest
from server.checkpoint import Progress

log = logging.getLogger("fedkd.server")

Record = dict[str, Any]

# More than any client holds; a larger claim would only serve to outweigh all others.
_MOST_EXAMPLES = 10**9


class NoAnswerError(RunError):
    """A round in which no client sent an update that could be used."""


@dataclass(frozen=True)
class Received:
    """An update that passed all checks."""

    answer: Answer
    payload: Payload


class FedKD(Strategy):
    """Runs the FedKD protocol, or any method that is a configuration of it.

    Args:
        experiment: What is trained.
        progress: What the last round ended with, see ``begin``.
        on_round: Called with the record of each round as it ends, and what it ended with.
        timeout: Seconds to wait for the clients of a federation at its start, and for their answers in a round.
    """

    def __init__(
        self, experiment: Experiment, progress: Progress, on_round: Callable[[Record, Progress], None], timeout: float
    ) -> None:
        self.experiment, self.on_round, self.timeout = experiment, on_round, timeout
        self.state, self.trained = progress.state, progress.trained
        self.quality = {partition: dict(figures) for partition, figures in progress.quality.items()}
        self._held = dict(progress.held)
        self._nodes: dict[int, int] = {}
        self._refused: list[dict[str, Any]] = []
        self._down_bytes = 0
        self._begun = time.monotonic() - progress.elapsed

    def run(self, grid: Grid) -> None:
        """Go through all rounds that are left; Flower's own ``start`` knows no first round but 1."""
        for round_ in range(self.state.round + 1, self.experiment.config.total_rounds + 1):
            offers = self.configure_train(round_, ArrayRecord(), ConfigRecord(), grid)
            self.aggregate_train(round_, grid.send_and_receive(offers, timeout=self.timeout))

    @property
    def _now(self) -> Experiment:
        """The experiment of the round under way."""
        return at(self.experiment, self.state.round, self.state.gone)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Begin the round and make an offer to each client that takes part in it."""
        self._grid, self._started, self._refused, self._down_bytes = grid, time.monotonic(), [], 0
        self._wait_for_clients()
        self.state = begin_round(self.state, self.experiment)
        header = header_of(server_round, self.state.digest, self._now)
        self._dense = encode(self.state.base, self._now.spec, header)
        self.state = forget_steps(self.state, len(self._dense))
        return [self._offer(partition, self._held.get(partition, 0)) for partition in self._sample(server_round)]

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Serve clients that asked for the dense model, then check, decode and average all updates.

        Raises:
            NoAnswerError: No update could be used; it says what the first client reported.
        """
        answers = self._answers(replies)
        if behind := [a.partition for a in answers if a.needs_dense]:
            offers = [self._offer(partition, None) for partition in sorted(behind)]
            answers += self._answers(self._grid.send_and_receive(offers, timeout=self.timeout))
        received = self._received(answers)
        if not received:
            why = self._refused[0]["why"] if self._refused else "no client answered in time"
            raise NoAnswerError(f"round {server_round}: no usable update from any client: {why}")
        uniform = self.experiment.config.exchange.weighting == "uniform"
        weights = [1.0 if uniform else float(r.answer.examples) for r in received]
        updates = [r.payload.tensors for r in received]
        energy = self.experiment.energy(server_round)
        self.state, broadcast = average(self.state, updates, weights, energy, self._now)
        for item in received:
            self._held[item.answer.partition] = server_round
        if server_round == self.experiment.config.rounds:
            self.trained = self.state.shared
        record = self._record(server_round, received, broadcast)
        self.on_round(record, Progress(self.state, self._held, self.quality, self.trained, record["elapsed"]))
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

    def summary(self) -> None:
        """Log what is about to run."""
        config = self.experiment.config
        log.info("%s on %s: %d clients, %d rounds", config.method, config.task, config.clients, config.rounds)

    def _wait_for_clients(self) -> None:
        """Learn which node is which client; bounded, where Flower's own sampling would wait for ever."""
        wanted, deadline = self.experiment.config.clients, time.monotonic() + self.timeout
        self._greet(wanted)
        while len(self._nodes) < wanted:
            if time.monotonic() > deadline:
                raise NoAnswerError(f"{len(self._nodes)} of {wanted} clients came within {self.timeout:g} s")
            time.sleep(1.0)
            self._greet(wanted)

    def _greet(self, wanted: int) -> None:
        """Ask nodes that aren't known yet which client they are, unless all clients are there or the grid knows."""
        if len(self._nodes) >= wanted:
            return
        if known := getattr(self._grid, "partitions", None):  # a simulation's: no need to ask every node
            self._nodes |= known
            return
        unknown = sorted(set(self._grid.get_node_ids()) - set(self._nodes.values()))
        hello = [self._message({}, node, "query") for node in unknown]
        replies = self._grid.send_and_receive(hello, timeout=self.timeout) if hello else []
        pairs = [(m.metadata.src_node_id, a) for m in replies if (a := self._read(m)) is not None]
        self._nodes |= {a.partition: node for node, a in pairs if 0 <= a.partition < wanted}

    def _sample(self, round_: int) -> list[int]:
        """Partition ids that take part in a round, ascending; the seed and the round alone decide."""
        return self.experiment.sample(generator(self.experiment.config.seed, Purpose.SAMPLING, round_))

    def _offer(self, partition: int, held: int | None) -> Message:
        """Offer the steps since the round a client holds, or the dense model where that is None."""
        energy = self.experiment.energy(self.state.round)
        offer = make_offer(self.state, held, energy, self._dense)
        self._down_bytes += offer.size
        return self._message(offer_fields(offer), self._nodes[partition], "train")

    def _message(self, fields: dict[str, Any], node: int, kind: str) -> Message:
        content = RecordDict({"offer": ConfigRecord(fields)})
        return Message(content, dst_node_id=node, message_type=kind, group_id=str(self.state.round))

    def _answers(self, replies: Iterable[Message]) -> list[Answer]:
        return [answer for message in replies if (answer := self._read(message)) is not None]

    def _read(self, message: Message) -> Answer | None:
        """Read a reply, or note why it can't be used."""
        if message.has_error():
            self._refuse(message.metadata.src_node_id, "error", str(message.error.reason))
            return None
        try:
            answer = read_answer(message.content.config_records["answer"])
            if self._nodes.get(answer.partition, message.metadata.src_node_id) != message.metadata.src_node_id:
                raise ValueError(f"partition {answer.partition} belongs to another node")
            return answer
        except (KeyError, TypeError, ValueError) as error:
            self._refuse(message.metadata.src_node_id, "malformed", repr(error))
            return None

    def _received(self, answers: list[Answer]) -> list[Received]:
        received = []
        for answer in sorted(answers, key=lambda a: a.partition):
            if answer.needs_dense:
                continue
            try:
                received.append(Received(answer, self._checked(answer)))
            except PayloadError as error:
                self._refuse(answer.partition, error.reason, str(error))
        return received

    def _checked(self, answer: Answer) -> Payload:
        if not 1 <= answer.examples <= _MOST_EXAMPLES:
            raise PayloadError("weight", f"trained on {answer.examples} examples, must be 1 to {_MOST_EXAMPLES}")
        bases = known_bases(self._now, self.state.round, self.state.steps[-1].blob)
        payload = decode(answer.blob, self._now.spec, bases)
        expected = header_of(self.state.round, self.state.digest, self._now)
        if payload.header != expected:
            raise PayloadError("base", f"the update is for {payload.header}, this round is {expected}")
        return payload

    def _refuse(self, client: int, reason: str, why: str) -> None:
        log.warning("round %d: refused client %d: %s", self.state.round, client, why)
        self._refused.append({"client": client, "reason": reason, "why": why})

    def _record(self, round_: int, received: list[Received], broadcast: Payload) -> Record:
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
            **self._shared_figures(measured),
            **teacher_figures(measured),
            "loss": {
                r: _mean([a.metrics[k] for a in answers if (k := f"loss_{r}") in a.metrics])
                for r in self.experiment.trainer.learners
            },
            **self._bytes(answers),
            "ranks": _ranks(self._now, received, broadcast),
            "refused": self._refused,
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
