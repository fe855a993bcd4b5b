"""What a configuration and the shared model's tensors alone decide of a round: no data, no models, no TensorFlow."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from fedkd.base.contents import hash_record
from fedkd.base.seeding import Purpose, generator
from fedkd.base.tensors import Spec, State, Weights, digest
from fedkd.compress.prune import polynomial_sparsity
from fedkd.config.config import Config
from fedkd.data.dataset import Dataset
from fedkd.data.partition import hold_out
from fedkd.exchange import schedule
from fedkd.exchange.basis import Bases
from fedkd.exchange.blob import Header
from fedkd.exchange.chain import Chain, chain_of
from fedkd.exchange.codec import DENSE, Payload
from fedkd.exchange.coding import Coding
from fedkd.exchange.compressors import compressor
from fedkd.exchange.sub_model import SubModel, Units, decode_part
from fedkd.objectives.objective import Objective
from fedkd.privacy.noise import bounded
from fedkd.protocol.personal import shared_part
from fedkd.protocol.run_cache import RunCache
from fedkd.protocol.scaffold import zeros_like
from fedkd.protocol.stages import FINISHING, TEACHER, TOGETHER, within_stage
from fedkd.tasks.own import Wants

if TYPE_CHECKING:
    from fedkd.protocol.local import Local

T = TypeVar("T")

# A model's place is its seed's number; the projection's comes after them.
ROLES = ("teacher", "student")


class Problem(Wants, Protocol):
    """What is learned, and on which examples whoever has them measures it."""

    @property
    def objective(self) -> Objective:
        """What the task asks of a model."""
        ...

    @property
    def test(self) -> Dataset | None:
        """Examples on which every model is measured; None where they aren't on this machine."""
        ...


class Rules(ABC):
    """An experiment as far as a client needs it to take part: ``fedkd.protocol.federation`` knows no more of one.

    Attributes:
        config: Resolved: the number of clients is known.
        task: What is learned.
        stage: What is trained, see ``fedkd.protocol.stages``.
        cache: What this process makes once for all clients; each experiment has its own.
    """

    config: Config
    cache: RunCache
    task: Problem
    stage: str = TOGETHER

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 (64 hex digits) of all that decides a result."""

    @property
    @abstractmethod
    def spec(self) -> Spec:
        """Tensors of the shared model, or of both: the teacher's, then the student's."""

    @property
    @abstractmethod
    def shared_sizes(self) -> Mapping[str, int]:
        """Numbers of tensors of the models that are shared, by role, in the order in which they are.

        Behind them is what ``fedkd.protocol.scaffold`` shares beside the model, where it does.
        """

    def parts(self, shared: Sequence[T]) -> dict[str, list[T]]:
        """Return what belongs to the tensors of each model that is shared, by role."""
        found, tensors = {}, iter(shared)
        for role, size in self.shared_sizes.items():
            found[role] = list(itertools.islice(tensors, size))
        return found

    def joined(self, parts: Mapping[str, Weights]) -> Weights:
        """Return the tensors of all models that are shared, as ``parts`` takes them apart."""
        return [tensor for role in self.shared_sizes for tensor in parts[role]]

    def with_control(self, tensors: Weights) -> Weights:
        """Return what is shared of models as it begins, with the control variate of clients that have such."""
        return tensors + (zeros_like(tensors) if self.config.train.control_variates else [])

    def untrained(self, role: str) -> Weights:
        """Return the weights that a shared model begins with which isn't trained now; empty where they aren't known."""
        return []

    @property
    @abstractmethod
    def frozen(self) -> str:
        """SHA-256 (64 hex digits) of what training doesn't change of the shared model; empty where it changes all."""

    def digest(self, base: Weights) -> str:
        """SHA-256 (64 hex digits) of a shared model, with what training doesn't change of it, which isn't sent."""
        found = digest(base)
        return hash_record({"weights": found, "frozen": self.frozen}) if self.frozen else found

    @abstractmethod
    def at(self, round_: int, removed_channels: Sequence[int]) -> "Rules | None":
        """Return the rules of a round: these, or those of the finishing rounds' model; None where they aren't known."""

    @abstractmethod
    def begun(self, stage: str, removed_channels: Sequence[int], shared: Weights) -> Weights | None:
        """Return the weights that a stage begins with; None where they can't be made here.

        Args:
            stage: That follows another one.
            removed_channels: Numbers of the channels that the finishing rounds' model lacks.
            shared: The shared model as the rounds before have left it.
        """

    @abstractmethod
    def local(self, client: int | None = None, said: str = "") -> "Local":
        """Return what the experiment is to a client; None for that of most clients.

        Args:
            client: Its number.
            said: The class of devices that a node says it is of, whatever it was dealt; empty where it says nothing.
        """

    @abstractmethod
    def client_data(self, partition_id: int, own: Dataset | None = None) -> tuple[Dataset, Dataset]:
        """Return what a client trains on and what it holds out; ``own`` are its own examples, where it has such."""

    @property
    def roles(self) -> tuple[str, ...]:
        """The models that are trained: ``teacher``, ``student``, or both."""
        if self.stage == TEACHER:
            return ("teacher",)
        return ROLES if self.config.train.models == "both" else (self.config.train.models,)

    @property
    def shared_roles(self) -> tuple[str, ...]:
        """The models that are shared."""
        shared = self.config.exchange.shared
        return {"none": (), "both": ROLES}.get(shared, (shared,))

    @property
    def shown(self) -> str:
        """Of the models that are shared the one whose quality is a round's, and which ships in the end."""
        return "teacher" if self.stage == TEACHER else self.config.shown

    @property
    def shares(self) -> bool:
        """Whether any model is shared."""
        return self.config.exchange.shared != "none"

    def shared_of(self, tensors: Sequence[T]) -> list[T]:
        """Return what of a shared model's tensors is shared: all of them for most methods."""
        return shared_part(tensors, self.personal)

    def without_shared(self, state: State) -> State:
        """Return what a client keeps of a state beside the base: a model of which some is personal it keeps whole."""
        return (
            state if self.personal else {group: held for group, held in state.items() if group not in self.shared_roles}
        )

    @property
    @abstractmethod
    def personal(self) -> Collection[int]:
        """Places of the shared model's tensors that stay with each client; none for most methods."""

    @cached_property
    def chain(self) -> Chain:
        """What happens to a client's update before it is encoded."""
        privacy = self.config.privacy
        return chain_of(self.config.exchange, self.config.seed, clip=privacy.clip if privacy.promised else 0.0)

    @cached_property
    def broadcast_chain(self) -> Chain:
        """What happens to the average of the clients' updates before it is encoded: the same, but for sketches."""
        return chain_of(self.config.exchange, self.config.seed, "down")

    @cached_property
    def update_spec(self) -> Spec:
        """Tensors of what clients send: of an update of the shared model, or of its sketch."""
        return self.chain.sends(self.spec)

    @property
    @abstractmethod
    def units(self) -> Units:
        """Which units of the shared model a round may leave out."""

    def sub_model(self, round_: int) -> SubModel | None:
        """Return what a round trains and sends of the shared model, which the seed draws; None where that is all.

        Finishing rounds train all of it.
        """
        share = self.config.exchange.units
        if share == 1 or round_ > self.config.rounds:
            return None
        rng = generator(self.config.seed, Purpose.UNITS, round_)
        return self.cache.sub_model(round_, lambda: self.units.draw(share, rng))

    def received(self, blob: bytes, round_: int, bases: Bases | None = None, expected: Header | None = None) -> Payload:
        """Decode a client's update of a round, see ``fedkd.exchange.codec.decode``."""
        return decode_part(blob, self.update_spec, self.sub_model(round_), bases, expected)

    def counted(self, payload: Payload, bases: Bases | None) -> Payload:
        """Return what of a client's update counts: all, or under privacy as much as ``privacy.clip`` lets."""
        if not (privacy := self.config.privacy).promised:
            return payload
        whole = [rank == DENSE for rank in payload.ranks]
        return replace(payload, tensors=bounded(payload.tensors, whole, self.spec, bases, privacy.clip))

    def coding(self, way: str, energy: float) -> Coding:
        """How updates are coded on their way ``up`` or ``down`` at an energy threshold."""
        exchange = self.config.exchange
        reduces = compressor(exchange.up if way == "up" else exchange.down, exchange, energy)
        return Coding(reduces, exchange.bits, exchange.rounding == "stochastic", exchange.deflate)

    def energy(self, round_: int) -> float:
        """Energy threshold T of a round: it rises in each stage of training; finishing rounds keep that of the last."""
        exchange = self.config.exchange
        return schedule.energy(*within_stage(self.config, round_), exchange.energy_start, exchange.energy_end)

    def rate(self, round_: int) -> float:
        """Learning rates of a round as a share of the first round's: from 1 down to ``train.decay``, linearly.

        So in each stage of training. Finishing rounds of a model that became another go the same way once more (Renda
        et al., ICLR 2020).
        """
        round_, rounds = within_stage(self.config, round_)
        if self.stage == FINISHING:
            round_, rounds = round_ - rounds, self.config.edge.finish_rounds
        return 1.0 + (self.config.train.decay - 1.0) * schedule.progress(round_, rounds)

    def sparsity(self, round_: int) -> float:
        """Sparsity of the base of a round: 0 while training, then rising to the final one."""
        edge = self.config.edge
        if round_ <= self.config.rounds:
            return 0.0
        return polynomial_sparsity(round_ - self.config.rounds, edge.finish_rounds, edge.sparsity)

    def sample(self, rng: np.random.Generator) -> list[int]:
        """Draw the partition ids that take part in a round, ascending."""
        return sorted(rng.choice(self.config.clients, self.config.participants, replace=False).tolist())

    @property
    @abstractmethod
    def evaluation_interval(self) -> int:
        """Rounds from one measurement of the teachers to the next."""

    def evaluates(self, round_: int) -> bool:
        """Whether clients measure their teachers in a round: every few, and in the last of training."""
        return round_ == self.config.rounds or round_ % self.evaluation_interval == 0


def held_apart(whole: Dataset, rows: np.ndarray, share: float, rng: np.random.Generator) -> tuple[Dataset, Dataset]:
    """Split a client's examples in those it trains on and those it holds out.

    Args:
        whole: Examples, some of them the client's.
        rows: Which; row numbers stand for examples, which may be large and are copied once.
        share: To hold out.
        rng: The only source of chance.
    """
    segments = None if whole.segments is None else whole.segments[rows]
    data = Dataset(rows, whole.y[rows], segments=segments)
    train, held_out = (rows[chosen] for chosen in hold_out(data, share, rng))
    return whole.take(train), whole.take(held_out)
