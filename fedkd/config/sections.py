"""The sections of a configuration: frozen dataclasses and their rules."""

import math
from dataclasses import dataclass, replace
from typing import Any

from fedkd.base.errors import require

# How updates may be averaged, see ``fedkd.protocol.aggregation``.
AVERAGES = ("mean", "trimmed_mean", "median", "krum")
ENGINES = ("tensorflow", "litert")  # what runs a client's training
UNLABELLED = ("rest", "nodes")  # where examples without labels come from, beside files


@dataclass(frozen=True)
class PartitionConfig:
    """How the training examples are dealt to the clients; by ``nodes`` not at all, each node has its own.

    ``examples`` is how many of them are used, 0 for all. ``clients`` chooses among natural ones: their names, separated
    by spaces, ``large`` for those with ``minimum`` examples or more, or empty for all. ``library`` names who deals
    ``iid`` and ``dirichlet``; the other kinds are always dealt by our own functions, or by ``package.module:function``
    of the user's, see ``fedkd.data.own_partition``.
    """

    examples: int = 0
    kind: str = "iid"
    alpha: float = 0.5
    shards: int = 2
    minimum: int = 8
    clients: str = ""
    library: str = "fedkd"

    def __post_init__(self) -> None:
        """Check the rules."""
        require(self.examples >= 0, "partition.examples", self.examples, "0 (all) or more")
        kinds = ("iid", "dirichlet", "shards", "natural", "nodes")
        rule = f"one of {', '.join(kinds)}, or package.module:function"
        require(self.kind in kinds or ":" in self.kind, "partition.kind", self.kind, rule)
        require(0 < self.alpha < math.inf, "partition.alpha", self.alpha, "above 0")
        require(self.shards >= 1, "partition.shards", self.shards, "at least 1 (shards a client)")
        require(self.minimum >= 2, "partition.minimum", self.minimum, "at least 2 (examples a client)")
        natural = self.kind == "natural" or not self.clients
        require(natural, "partition.clients", self.clients, "empty, but for partition.kind = 'natural'")
        known = ("fedkd", "flwr_datasets")
        require(self.library in known, "partition.library", self.library, "fedkd or flwr_datasets")


@dataclass(frozen=True)
class TrainConfig:
    """What a client does in a round.

    ``models`` is which it trains: ``both``, which teach each other, or the ``teacher`` or ``student`` alone. ``decay``
    is the last round's learning rates as a share of the first's, ``proximal`` FedProx's pull to the round's model.
    ``class_weights`` is how much examples count in the task loss: ``balanced`` by how rare their class is among the
    client's own, or ``NAME=WEIGHT`` of classes, with commas between; empty for all alike.
    ``engine`` is what runs its steps: ``tensorflow``, or ``litert``, a training file in the runtime of devices.
    ``unlabelled`` is where examples without labels come from, on which the two models teach each other and no task loss
    counts: ``rest``, those that ``partition.examples`` leaves out; an .npz file with ``x``; ``nodes``, each node's own;
    empty for none, ``none`` also where the method has some. In each batch there are ``unlabelled_ratio`` of them for
    one with a label.
    ``control_variates`` are SCAFFOLD's, which correct each gradient of what is shared.
    In the first rounds, ``teacher_share`` of all, only the teacher is trained; then it stays as it is and teaches.
    """

    engine: str = "tensorflow"
    models: str = "both"
    epochs: int = 1
    batch_size: int = 32
    optimizer: str = "adam"
    teacher_lr: float = 1e-3
    student_lr: float = 1e-3
    decay: float = 1.0
    proximal: float = 0.0
    control_variates: bool = False
    reset_student_moments: bool = False
    holdout: float = 0.1
    evaluate_every: int = 0
    class_weights: str = ""
    unlabelled: str = ""
    unlabelled_ratio: int = 1
    teacher_share: float = 0.0

    def __post_init__(self) -> None:
        """Check the rules."""
        require(self.engine in ENGINES, "train.engine", self.engine, " or ".join(ENGINES))
        require(self.models in ("both", "teacher", "student"), "train.models", self.models, "both, teacher or student")
        require(self.epochs >= 1, "train.epochs", self.epochs, "at least 1")
        require(self.batch_size >= 1, "train.batch_size", self.batch_size, "at least 1")
        require(0 < self.teacher_lr < math.inf, "train.teacher_lr", self.teacher_lr, "above 0")
        require(0 < self.student_lr < math.inf, "train.student_lr", self.student_lr, "above 0")
        require(0 < self.decay <= 1, "train.decay", self.decay, "in (0, 1] (last learning rate / first)")
        require(0 <= self.proximal < math.inf, "train.proximal", self.proximal, "0 (off) or more (FedProx's mu)")
        require(0 <= self.holdout < 1, "train.holdout", self.holdout, "in [0, 1)")
        known = self.unlabelled in ("", "none", *UNLABELLED) or self.unlabelled.endswith(".npz")
        rule = f"{', '.join(UNLABELLED)}, an .npz file, or none"
        require(known, "train.unlabelled", self.unlabelled, rule)
        rule = "at least 1 (examples without labels for each with one)"
        require(self.unlabelled_ratio >= 1, "train.unlabelled_ratio", self.unlabelled_ratio, rule)
        rule = "in [0, 1) (share of the rounds, the first ones)"
        require(0 <= self.teacher_share < 1, "train.teacher_share", self.teacher_share, rule)
        rule = "0 (a tenth of the time at most) or more (rounds)"
        require(self.evaluate_every >= 0, "train.evaluate_every", self.evaluate_every, rule)

    @property
    def without_labels(self) -> str:
        """Where examples without labels come from; empty where there are none, for whatever reason."""
        return "" if self.unlabelled == "none" else self.unlabelled


@dataclass(frozen=True)
class LossConfig:
    """Switches of the losses (Wu et al. 2022, eqs 1-7), and weights of further kinds of knowledge.

    ``mutual`` has the two models teach each other, ``hidden`` by their hidden states, too, and ``adaptive`` divides
    both by their task losses: what is wrong teaches little.
    """

    mutual: bool = True
    adaptive: bool = True
    hidden: bool = True
    undetached: bool = False
    temperature: float = 1.0
    attention_transfer: float = 0.0
    distance: float = 0.0
    angle: float = 0.0
    attention_relation: float = 0.0
    value_relation: float = 0.0

    def __post_init__(self) -> None:
        """Check the rules."""
        require(0 < self.temperature < math.inf, "loss.temperature", self.temperature, "above 0")
        for key, weight in self.knowledge.items():
            require(0 < weight < math.inf, f"loss.{key}", weight, "0 (off) or more")

    @property
    def knowledge(self) -> dict[str, float]:
        """Weights of the kinds of ``fedkd.distill.knowledge`` that are switched on, by their keys."""
        weights = {
            "attention_transfer": self.attention_transfer,
            "distance": self.distance,
            "angle": self.angle,
            "attention_relation": self.attention_relation,
            "value_relation": self.value_relation,
        }
        return {key: weight for key, weight in weights.items() if weight}

    @property
    def teaches(self) -> bool:
        """Whether anything of the losses has models learn from each other."""
        return self.mutual or self.hidden or bool(self.knowledge)

    @property
    def of_logits(self) -> "LossConfig":
        """Without what needs more than the logits of both models."""
        off: dict[str, Any] = dict.fromkeys(self.knowledge, 0.0)
        return replace(self, hidden=False, **off)


@dataclass(frozen=True)
class GuardConfig:
    """What the server refuses, how it averages what it took, and how long it waits.

    ``rule`` is one of ``fedkd.protocol.aggregation``; ``trim`` is the share of the answers that ``trimmed_mean`` cuts
    off at each end, ``byzantine`` the number of liars that ``krum`` expects. ``norm`` bounds the L2 norm of an update,
    ``spread`` bounds it by so many times the median of the round's norms; 0 is no bound. ``most_examples`` bounds what
    a client may claim to hold, so its weight: that of the largest client is best.

    ``deadline`` is how long a round waits for answers, ``patience`` how long the server waits for clients at its start,
    in seconds. A round with fewer than ``minimum`` answers leaves the model as it is; ``failed_rounds`` of these in a
    row end the run.
    """

    rule: str = "mean"
    trim: float = 0.2
    byzantine: int = 1
    norm: float = 0.0
    spread: float = 100.0
    most_examples: int = 1_000_000
    deadline: float = 3600.0
    patience: float = 600.0
    minimum: int = 1
    failed_rounds: int = 3

    def __post_init__(self) -> None:
        """Check the rules."""
        require(self.rule in AVERAGES, "guard.rule", self.rule, f"one of {', '.join(AVERAGES)}")
        require(0 <= self.trim < 0.5, "guard.trim", self.trim, "in [0, 0.5) (share of the answers, at each end)")
        require(self.byzantine >= 0, "guard.byzantine", self.byzantine, "0 or more (clients)")
        require(0 <= self.norm < math.inf, "guard.norm", self.norm, "0 (no bound) or more")
        rule = "0 (no bound), or 1 or more (times the median norm of a round)"
        require(self.spread == 0 or 1 <= self.spread < math.inf, "guard.spread", self.spread, rule)
        require(self.most_examples >= 1, "guard.most_examples", self.most_examples, "at least 1")
        for key, seconds in (("deadline", self.deadline), ("patience", self.patience)):
            require(0 < seconds < math.inf, f"guard.{key}", seconds, "above 0 (seconds)")
        require(self.minimum >= 1, "guard.minimum", self.minimum, "at least 1 (answers a round)")
        require(self.failed_rounds >= 1, "guard.failed_rounds", self.failed_rounds, "at least 1 (rounds in a row)")

    @property
    def answers(self) -> int:
        """Answers a round must have: ``minimum``, or as many as its rule needs to be more than a mean.

        Krum holds with n >= 2f + 3 (Blanchard et al. 2017), a median of three, and a trimmed mean that trims.
        """
        trims = math.ceil(1 / self.trim - 1e-9) if self.trim else 1
        return max(self.minimum, {"krum": 2 * self.byzantine + 3, "median": 3, "trimmed_mean": trims}.get(self.rule, 1))
