"""What is known of a round when it has ended: a line of ``history.jsonl``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fedkd.base.errors import InputError
from fedkd.results import class_figures, shape
from fedkd.results.class_figures import ByClass
from fedkd.results.json_fields import number, numbers, required, table
from fedkd.results.shape import every, optional

# Rank of a tensor's update as it was broadcast, the mean of those received (None where all went dense), full rank.
Ranks = Sequence[float | None]

_SHARED, _TEACHER = "shared_", "teacher_"
_OF_DECIDING = ("mean", "std", "personal")  # of teachers, by the metric that decides
_SHA256 = "shared_sha256"


@dataclass(frozen=True)
class Round:
    """A round that has ended.

    Args:
        number: From 1.
        rounds: All that the run will have.
        phase: ``train`` or ``finish``; ``teacher`` where the teacher alone is trained, whose quality is the round's.
        up_bytes: Payload of all clients' updates.
        down_bytes: Payload of all offers to them.
        shared: Quality of the shared model by the name of the metric, the deciding one first; None where it wasn't
            measured.
        teacher_mean: Mean over clients of their teachers' quality by the deciding metric; None where nothing was
            measured.
        teacher_std: Standard deviation of the same.
        teacher_personal: Mean of the same on what clients have held out of their own examples.
        teacher_others: Mean quality of the teachers by the names of the other metrics.
        sparsity: Share of zeros in the base of the round.
        energy: Threshold of the singular values that are sent.
        participants: Partition ids of the clients whose updates were averaged.
        closed: Whether they were enough to make the next model.
        loss: Mean training loss by ``teacher`` and ``student``.
        ranks: By the names of tensors.
        behind: Partition ids of the clients that needed the dense model.
        refused: Updates that were refused, each with client, node, reason and why.
        norms: L2 norms of the updates that were averaged: ``min``, ``median``, ``max``, and whose is the ``largest``.
        clients: Figures of the participants by name, each a list in their order with None for what isn't known:
            ``examples``, ``up_bytes``, ``down_bytes``, ``seconds``, ``norm``, ``loss_ROLE``, ``peak_bytes`` of nodes on
            machines of their own, and, where they were measured, ``teacher_METRIC``, ``teacher_personal`` and
            ``shared_personal``.
        classes: Class of devices of each participant, in their order, empty for none; empty where there are no classes.
        by_class: Figures of each class of devices, by its name; empty where there are none.
        epsilon: What this round and all before it may have told of a client; None where nothing was promised.
        seconds: How long the round took; None where it isn't known.
        elapsed: Seconds since the run began.
        shared_sha256: Of the shared model, 64 hex digits.
    """

    number: int
    rounds: int
    phase: str
    up_bytes: float = 0
    down_bytes: float = 0
    shared: Mapping[str, float | None] = field(default_factory=dict)
    teacher_mean: float | None = None
    teacher_std: float | None = None
    teacher_personal: float | None = None
    teacher_others: Mapping[str, float | None] = field(default_factory=dict)
    sparsity: float | None = None
    energy: float | None = None
    participants: Sequence[int] = ()
    closed: bool = True
    loss: Mapping[str, float | None] = field(default_factory=dict)
    ranks: Mapping[str, Ranks] = field(default_factory=dict)
    behind: Sequence[int] = ()
    refused: Sequence[Any] = ()
    norms: Mapping[str, float | None] = field(default_factory=dict)
    clients: Mapping[str, Sequence[float | None]] = field(default_factory=dict)
    classes: Sequence[str] = ()
    by_class: ByClass = field(default_factory=dict)
    epsilon: float | None = None
    seconds: float | None = None
    elapsed: float | None = None
    shared_sha256: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The line: one flat object, whose keys for quality are ``shared_METRIC`` and ``teacher_METRIC``."""
        return {
            "round": self.number,
            "rounds": self.rounds,
            "phase": self.phase,
            "sparsity": self.sparsity,
            "energy": self.energy,
            "participants": list(self.participants),
            "closed": self.closed,
            "loss": dict(self.loss),
            "ranks": {name: list(ranks) for name, ranks in self.ranks.items()},
            **{_SHARED + name: value for name, value in self.shared.items()},
            **{_TEACHER + key: getattr(self, _TEACHER + key) for key in _OF_DECIDING},
            **{_TEACHER + name: value for name, value in self.teacher_others.items()},
            "up_bytes": self.up_bytes,
            "down_bytes": self.down_bytes,
            "behind": list(self.behind),
            "refused": list(self.refused),
            "norms": dict(self.norms),
            "clients": {name: list(figures) for name, figures in self.clients.items()},
            **({"classes": list(self.classes)} if self.classes else {}),
            **class_figures.to_json(self.by_class),
            **({} if self.epsilon is None else {"epsilon": self.epsilon}),
            "seconds": self.seconds,
            "elapsed": self.elapsed,
            _SHA256: self.shared_sha256,
        }

    @classmethod
    def from_json(cls, row: Any, where: str = "history.jsonl") -> "Round":
        """Undo ``to_json``; a line may lack all that a report doesn't count on.

        Args:
            row: What a line holds.
            where: Its place, for what is said of a line that is none.

        Raises:
            InputError: It is no object, or lacks a figure, or one is no number.
        """
        if not isinstance(row, dict):
            raise InputError(f"{where}: a line is one JSON object, got {str(row)[:40]!r}")
        for key in ("round", "rounds", "phase", "up_bytes", "down_bytes"):
            required(row, key, where, "a round")
        shared = numbers({key.removeprefix(_SHARED): row[key] for key in _keys(row, _SHARED, (_SHA256,))}, where)
        if not shared:
            raise InputError(f"{where}: a round has a key shared_METRIC, this one has none")
        teachers = _keys(row, _TEACHER, tuple(_TEACHER + key for key in _OF_DECIDING))
        return cls(
            number=int(number(row, "round", where)),
            rounds=int(number(row, "rounds", where)),
            phase=str(row["phase"]),
            up_bytes=number(row, "up_bytes", where),
            down_bytes=number(row, "down_bytes", where),
            shared=shared,
            teacher_others=numbers({key.removeprefix(_TEACHER): row[key] for key in teachers}, where),
            participants=tuple(row.get("participants") or ()),
            closed=bool(row.get("closed", True)),
            loss=numbers(table(row, "loss", where), where),
            ranks={name: tuple(ranks) for name, ranks in table(row, "ranks", where).items()},
            behind=tuple(row.get("behind") or ()),
            refused=tuple(row.get("refused") or ()),
            norms=numbers(table(row, "norms", where), where),
            clients=_clients(row, where),
            classes=tuple(map(str, row.get("classes") or ())),
            by_class=class_figures.from_json(row, where),
            shared_sha256=row.get(_SHA256),
            **numbers({key: row.get(key) for key in _MAY_BE_NONE}, where),
        )


_MAY_BE_NONE = (*(_TEACHER + key for key in _OF_DECIDING), "sparsity", "energy", "epsilon", "seconds", "elapsed")


def _clients(row: Mapping[str, Any], where: str) -> dict[str, tuple[float | None, ...]]:
    """Figures of each participant."""
    found, count = table(row, "clients", where), len(row.get("participants") or ())
    for name, figures in found.items():
        if not isinstance(figures, list) or len(figures) != count:
            rule = f"clients.{name} must be a list of {count} numbers, one a participant"
            raise InputError(f"{where}: {rule}, got {str(figures)[:40]}")
        every(optional(shape.number))(figures, f"{where}: clients.{name}")
    return {name: tuple(figures) for name, figures in found.items()}


def _keys(row: Mapping[str, Any], prefix: str, but: Sequence[str]) -> list[str]:
    """Keys of metrics, in the line's order."""
    return [key for key in row if key.startswith(prefix) and key not in but]
