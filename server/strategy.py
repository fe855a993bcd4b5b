"""FedKD over Flower's grid: messages out, answers in; the protocol itself is in ``fedkd.protocol.federation``."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from flwr.app import Message

from clients.node.transport import to_records
from fedkd.base.errors import InputError, NoAnswerError, NotFiniteError, RunError
from fedkd.base.tensors import digest
from fedkd.exchange.codec import Payload, encode
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.federation import begin_round, failed_round, forget_steps, header_of, make_offer
from fedkd.protocol.federation import server_round as average
from fedkd.protocol.messages import Answer, offer_fields
from fedkd.protocol.state import ServerState
from fedkd.results.round import Round
from server.checkpoint import RunProgress
from server.kinds import Kinds
from server.nodes import Nodes, PollingGrid, Simulation
from server.privacy import Keeper
from server.record import of_models, round_of, why_failed, with_bytes, with_clients, with_quality
from server.reply import read, update_of
from server.training_files import TrainingFiles
from server.validation import Received, UpdateValidator

log = logging.getLogger("fedkd.server")

# Seconds in which a node says which client it is; a slow one starts a process for it.
_GREETING = 60.0

# Seconds for which Flower keeps a message beyond its time: with it go replies, those too that came in time.
_KEPT = 30.0

OnRound = Callable[[Round, RunProgress], None]


class FedKD:
    """Runs the FedKD protocol, or any method that is a configuration of it.

    Flower's own strategies know no first round but 1, and wait forever for clients that don't come.

    Args:
        experiment: What is trained.
        progress: What the last round ended with.
        grid: Where the clients are.
        on_round: Called with each round as it ends, and what it ended with.
        keeper: Of what the run promises its clients; one of machines of their own where None.
    """

    def __init__(
        self,
        experiment: Experiment,
        progress: RunProgress,
        grid: Nodes,
        on_round: OnRound,
        keeper: Keeper | None = None,
    ) -> None:
        self.experiment, self._grid, self._on_round = experiment, grid, on_round
        self._keeper = keeper or Keeper(experiment, simulated=False)
        self.state, self.trained = progress.state, progress.trained
        self._quality = {partition: dict(figures) for partition, figures in progress.quality.items()}
        self._known_rounds: dict[int, int | None] = dict(progress.known_rounds)
        self._nodes: dict[int, int] = {}
        self._behind: dict[int, int] = {}
        self._met = False
        self._measured: Mapping[str, float] = {}
        self._guard = UpdateValidator(self._keeper.guard)
        self._failed = 0
        self._begun = time.monotonic() - progress.elapsed
        self._down_bytes, self._parts = Counter[int](), dict[bytes, list[bytes]]()
        self._kinds = Kinds(experiment, progress.classes)
        self._files = TrainingFiles(experiment, self._kinds)

    def run(self) -> None:
        """Go through all rounds that are left.

        Raises:
            NoAnswerError: Too few clients came, or answered in too many rounds in a row; says what was wrong first.
        """
        config = self.experiment.config
        log.info("%s on %s: %d clients, %d rounds", config.method, config.task, config.clients, config.rounds)
        try:
            for round_ in range(self.state.round + 1, config.total_rounds + 1):
                self._round(round_)
        finally:
            if self._simulated:
                self._simulated.close()  # none may still write its state when the run's folder is free for others

    def _round(self, round_: int) -> None:
        """Go through one round; its updates are gone as the next begins."""
        self._started = time.monotonic()
        offers = self._begin(round_)
        received = self._received(self._grid.send_and_receive(offers, timeout=self.experiment.config.guard.deadline))
        broadcast = self._average(received)
        self._end(round_, received, broadcast)
        self._count_failure(round_, received, broadcast)

    @property
    def _now(self) -> Experiment:
        """The experiment of the round under way."""
        return self.experiment.at(self.state.round, self.state.removed_channels)

    def _begin(self, round_: int) -> list[Message]:
        """Begin a round and make an offer to each client that takes part in it."""
        self._guard.begin(round_)
        self._wait_for_clients()
        self._ends = time.monotonic() + self.experiment.config.guard.deadline
        self._down_bytes, self._behind, self._parts = Counter(), {}, {}
        self.state = begin_round(self.state, self.experiment)
        self._dense = encode(self.state.base, self._now.spec, header_of(round_, self.state.digest, self._now))
        self.state = forget_steps(self.state, len(self._dense))
        sample = self._sample(round_)
        for partition in sample:
            if partition not in self._nodes:
                self._guard.absent(partition)
        there = [partition for partition in sample if partition in self._nodes]
        self._asked = {partition: self._nodes[partition] for partition in there if self._served(partition)}
        return [self._offer(partition, self._known_rounds.get(partition, 0)) for partition in self._asked]

    def _end(self, round_: int, received: list[Received], broadcast: Payload | None) -> None:
        """Note what a round has brought."""
        answers = [item.answer for item in received]
        self._known_rounds |= {answer.partition: round_ for answer in answers}
        self._quality |= {a.partition: q for a in answers if (q := self._keeper.kept(of_models(a.metrics)))}
        if round_ == self.experiment.config.rounds:
            self.trained = self.state.shared
        evaluated = self.experiment.evaluates(round_)
        ended = round_of(self._now, round_, received, broadcast)
        quality = self._quality if evaluated else {}
        ended = with_quality(ended, self._now, self._measured, quality)
        ended = with_clients(ended, self._now, received, self._down_bytes, evaluated)
        ended = replace(
            with_bytes(ended, self.experiment, received, self._down_bytes),
            classes=self._kinds.classes(ended.participants),
            by_class=self._kinds.figures(answers, quality),
            behind=sorted(self._behind),
            refused=self._guard.refused,
            seconds=time.monotonic() - self._started,
            elapsed=(elapsed := time.monotonic() - self._begun),
            shared_sha256=digest(self.state.shared),
        )
        kept = (self._known_rounds, self._quality, self.trained, elapsed, self._kinds.said)
        self._on_round(self._keeper.told(ended), RunProgress(self.state, *kept))

    def _received(self, replies: Iterable[Message]) -> list[Received]:
        """Updates that can be used, of clients that needed the dense model too."""
        check = partial(update_of, state=self.state, experiment=self._now)
        # Real nodes that are behind wait while the server checks, and their time is short.
        early = check if self._simulated else None
        offers: dict[int, Message] = {}
        answers = self._guard.answers(self._heard(replies, offers), self._asked, early)
        if offers:
            again = [offers[partition] for partition in sorted(offers)]
            replies = self._grid.send_and_receive(again, timeout=self._seconds_left())
            second = self._guard.answers(replies, self._behind, early)
            self._guard.stuck(second, self._behind)
            answers = answers + second
        return self._guard.updates(answers, self._asked, check)

    def _heard(self, replies: Iterable[Message], offers: dict[int, Message]) -> Iterator[Message]:
        """Pass replies on, and make who can't go on from its offer another, which a real node is sent at once.

        One that doesn't answer would else take the time of all that are behind.
        """
        partitions = {node: partition for partition, node in self._asked.items()}
        for reply in replies:
            partition, answer = partitions.get(reply.metadata.src_node_id), read(reply)
            if isinstance(answer, Answer) and answer.partition == partition and partition not in self._behind:
                self._files.note([answer])
                if answer.needs_dense and self._served(partition):
                    self._behind[partition] = self._nodes[partition]
                    # Who doesn't answer in time gets it at once in the next round.
                    self._known_rounds[partition] = None
                    offers[partition] = self._offer(partition, None)
                    if isinstance(self._grid, PollingGrid):
                        self._grid.post(offers[partition])
            yield reply

    def _served(self, partition: int) -> bool:
        """Whether a client can be given what it trains by."""
        try:
            self._files.check(self._now, partition)
        except InputError as error:
            self._guard.unserved(partition, self._nodes[partition], str(error))
            return False
        return True

    def _average(self, received: list[Received]) -> Payload | None:
        """Make the next shared model of all updates, or leave it as it is where they are too few; the broadcast."""
        config = self.experiment.config
        if len(received) < config.guard.answers:
            self._fail()
            return None
        uniform = config.exchange.weighting == "uniform"
        weights = [1.0 if uniform else float(r.answer.examples) for r in received]
        updates, energy = [r.payload.tensors for r in received], self.experiment.energy(self.state.round)
        noise = self._keeper.noise(self.state.round)
        state, broadcast = average(self.state, updates, weights, energy, self._now, noise)
        try:
            self._measured = self._measure(state)
        except NotFiniteError as error:
            self._guard.unusable(received, self._asked, str(error))
            self._fail()
            return None
        self.state = state
        return broadcast

    def _fail(self) -> None:
        """Leave the model as it is."""
        self.state = failed_round(self.state)
        try:
            self._measured = self._measure(self.state)
        except NotFiniteError as error:
            raise RunError(f"round {self.state.round}: the model is of no use as it begins: {error}") from None

    def _measure(self, state: ServerState) -> Mapping[str, float]:
        """Quality of the shared model; none where the server has no whole one."""
        return self._now.quality(state.shared, self.experiment.threads) if self.experiment.config.ships else {}

    def _count_failure(self, round_: int, received: list[Received], broadcast: Payload | None) -> None:
        """End the run where too many rounds in a row, or all there are, had too few answers."""
        self._failed = 0 if broadcast else self._failed + 1
        if broadcast:
            return
        config, refused = self.experiment.config, self._guard.refused
        text = why_failed(round_, len(received), config.guard.answers, refused)
        if self._failed >= min(config.guard.failed_rounds, config.total_rounds):
            raise NoAnswerError(text + (f" ({self._failed} rounds in a row)" if self._failed > 1 else ""))
        log.warning("%s; the model stays as it is", text)

    def _seconds_left(self) -> float:
        """Seconds left of the round; all of them in a simulation, whose grid counts each client's own time."""
        guard = self.experiment.config.guard
        return guard.deadline if self._simulated else max(0.0, self._ends - time.monotonic())

    @property
    def _simulated(self) -> Simulation | None:
        """The grid, where its clients are in this process; nodes on other machines have to be asked who they are."""
        return self._grid if isinstance(self._grid, Simulation) else None

    def _wait_for_clients(self) -> None:
        """Learn which node is which client; bounded, where Flower's own sampling would wait forever.

        At the start all are waited for. After ``guard.patience``, and later, as many as a round needs are enough.

        Raises:
            NoAnswerError: There are fewer.
        """
        guard, wanted = self.experiment.config.guard, self.experiment.config.clients
        ends, enough = time.monotonic() + guard.patience, guard.answers if self._met else wanted
        self._greet(wanted, ends)
        while len(self._nodes) < enough and (left := ends - time.monotonic()) > 0:
            time.sleep(min(1.0, left))
            self._greet(wanted, ends)
        if len(self._nodes) < guard.answers:
            refused = "".join(f"; {entry['why']}" for entry in self._guard.refused[:1])
            raise NoAnswerError(f"{len(self._nodes)} of {wanted} clients came within {guard.patience:g} s{refused}")
        if len(self._nodes) < wanted:
            log.warning("%d of %d clients are there", len(self._nodes), wanted)
        self._met = True

    def _greet(self, wanted: int, ends: float) -> None:
        """Ask nodes that aren't known yet which client they are; forget those that have gone."""
        if simulated := self._simulated:
            self._nodes = dict(simulated.partitions)
            return
        there = set(self._grid.get_node_ids())
        self._nodes = {partition: node for partition, node in self._nodes.items() if node in there}
        unknown = sorted(there - set(self._nodes.values()))
        if len(self._nodes) >= wanted or not unknown:
            return
        seconds = max(0.0, min(_GREETING, ends - time.monotonic()))
        hello = [self._message({}, node, "query", seconds) for node in unknown]
        replies = self._grid.send_and_receive(hello, timeout=seconds)
        classes = [held.name for held in self.experiment.config.classes]
        self._nodes, said = self._guard.introduced(replies, self._nodes, wanted, classes)
        self._kinds.note(said)

    def _sample(self, round_: int) -> list[int]:
        """Partition ids that take part in a round, ascending."""
        return self.experiment.sample(self._keeper.chance(round_))

    def _offer(self, partition: int, known_round: int | None) -> Message:
        """Offer the steps since the round whose base a client has, or the dense model where that is None."""
        energy = self.experiment.energy(self.state.round)
        offer = make_offer(self.state, known_round, energy, self._dense)
        offer = self._files.add(offer, self._now, partition)
        self._down_bytes[partition] += offer.size
        return self._message(offer_fields(offer), self._nodes[partition], "train", self._ends - time.monotonic())

    def _message(self, fields: dict[str, Any], node: int, kind: str, seconds: float) -> Message:
        """Make a message that a node which comes back much later than in some seconds needn't work on any more."""
        content, live = to_records("offer", fields, self._parts), max(1.0, seconds) + _KEPT
        return Message(content, dst_node_id=node, message_type=kind, ttl=live, group_id=str(self.state.round))
