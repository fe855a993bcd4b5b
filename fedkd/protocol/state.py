"""What server and clients keep and send in the protocol of ``fedkd.protocol.federation``."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fedkd.base.tensors import State, Weights


@dataclass(frozen=True)
class Step:
    """From the base of round - 1 to that of ``round``: add the update in ``blob`` (none where empty), then prune."""

    round: int
    blob: bytes
    sparsity: float


@dataclass(frozen=True)
class Offer:
    """What the server sends a client in a round.

    Args:
        round: From 1.
        base: Digest of the model this round builds on.
        energy: Threshold T of the round.
        sparsity: Of the base; above 0 the client keeps its zeros while it trains.
        steps: From a base the client is thought to hold to this round's, oldest first; none with ``dense``.
        dense: The base itself, encoded dense, for a client that can't follow the steps.
        removed_channels: Channels that the finishing rounds' model lacks.
        run: Tells a run from all others, so that no client goes on from what it kept of another.
        training_file: SHA-256 of the file by which a client without TensorFlow trains in this round; empty for others.
        training: The file itself, deflated, for one that lacks it.
    """

    round: int
    base: str
    energy: float
    sparsity: float
    steps: tuple[Step, ...]
    dense: bytes = b""
    removed_channels: tuple[int, ...] = ()
    run: str = ""
    training_file: str = ""
    training: bytes = b""

    @property
    def size(self) -> int:
        """Bytes of payload; a channel's number counts 8."""
        models = len(self.dense) + sum(len(step.blob) for step in self.steps) + 8 * len(self.removed_channels)
        return models + len(self.training)


@dataclass(frozen=True)
class ClientState:
    """What a client keeps.

    Args:
        round: The last one it took part in, 0 before the first.
        base: Of that round.
        local: By groups, its trainer's state and what the transforms of its updates keep.
    """

    round: int
    base: Weights
    local: State


@dataclass(frozen=True)
class ServerState:
    """What the server keeps.

    Args:
        round: The one under way, or the last.
        shared: The shared model.
        base: That of the round under way.
        digest: Of the base.
        steps: That led to the base, oldest first.
        update: The last broadcast.
        transforms: What the transforms of its updates keep, by their groups, such as what hasn't been sent yet.
        removed_channels: Channels that the finishing rounds' model lacks.
        run: Tells this run from all others.
    """

    round: int
    shared: Weights
    base: Weights
    digest: str
    steps: tuple[Step, ...] = ()
    update: bytes = b""
    transforms: Mapping[str, Weights] = field(default_factory=dict)
    removed_channels: tuple[int, ...] = ()
    run: str = ""


@dataclass(frozen=True)
class Upload:
    """A client's answer: its encoded update, how many examples it trained on, its mean losses."""

    blob: bytes
    examples: int
    losses: Mapping[str, float]
