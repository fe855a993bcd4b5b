"""An experiment in full: its sections, and the rules between them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fedkd.base.errors import require
from fedkd.config.device_class import DeviceClass, check_classes
from fedkd.config.edge import EdgeConfig
from fedkd.config.exchange import ExchangeConfig
from fedkd.config.model import ModelConfig
from fedkd.config.privacy import PrivacyConfig
from fedkd.config.sections import GuardConfig, LossConfig, PartitionConfig, TrainConfig

Scalar = str | int | float | bool
Settings = Mapping[str, Scalar]


@dataclass(frozen=True)
class Config:
    """An experiment: all that is needed to run it again."""

    task: str = "digits"
    data: str = ""
    method: str = "fedkd"
    seed: int = 0
    rounds: int = 20
    clients: int = 0
    fraction: float = 1.0
    threads: int = 0
    model: ModelConfig = field(default_factory=ModelConfig)
    partition: PartitionConfig = field(default_factory=PartitionConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    exchange: ExchangeConfig = field(default_factory=ExchangeConfig)
    edge: EdgeConfig = field(default_factory=EdgeConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    privacy: PrivacyConfig = field(default_factory=PrivacyConfig)
    classes: tuple[DeviceClass, ...] = ()

    def __post_init__(self) -> None:
        """Check the rules that one section can't check alone."""
        require(self.seed >= 0, "seed", self.seed, "0 or more")
        require(self.rounds >= 1, "rounds", self.rounds, "at least 1")
        require(self.clients >= 0, "clients", self.clients, "0 (the task's choice) or more")
        require(0 < self.fraction <= 1, "fraction", self.fraction, "in (0, 1]")
        require(self.threads >= 0, "threads", self.threads, "0 (all cores) or more")
        shared, models = self.exchange.shared, self.train.models
        dealt = self.partition.kind != "nodes" or self.clients > 0
        require(dealt, "clients", self.clients, "at least 1 with partition.kind = 'nodes' (as many as there are nodes)")
        trained = shared == "none" or models in ("both", shared)  # both are trained where both are shared
        require(trained, "exchange.shared", shared, f"a model that is trained ({models})")
        started = models != "teacher" or not self.model.student_weights
        rule = f"empty where no student is trained (train.models = '{models}', as {self.method} has it)"
        require(started, "model.student_weights", self.model.student_weights, rule)
        self._check_adapters()
        shares = shared != "none" or not self.edge.reshapes
        rule = "student, teacher or both where finishing rounds change it (edge.qat, edge.channels)"
        require(shares, "exchange.shared", shared, rule)
        self._check_losses()
        linear = not self.exchange.sketches or self.guard.rule in ("mean", "krum")
        rule = "mean or krum where updates are sketched: no other rule's average of sketches is one (exchange.up)"
        require(linear, "guard.rule", self.guard.rule, rule)
        names = " ".join(held.name for held in self.classes)
        both = models == "both" and shared not in ("teacher", "both")
        rule = (
            f"left out with method {self.method!r}, whose clients don't each train a teacher of their own and a student"
        )
        require(both or not names, "classes", names, rule)
        check_classes(self.classes, self.clients)
        self._check_stages()
        self._check_control()
        self._check_units()
        self._check_personal()
        self._check_privacy()
        if self.clients:
            asked = f"at most {self.participants}, the clients a round asks"
            require(self.guard.minimum <= self.participants, "guard.minimum", self.guard.minimum, asked)
            enough = self.guard.answers <= self.participants
            rule = f"a rule that needs {asked} (this one needs {self.guard.answers} answers)"
            require(enough, "guard.rule", self.guard.rule, rule)

    def _check_adapters(self) -> None:
        models = self.train.models
        for role in ("teacher", "student"):
            rule = f"0 where no {role} is trained (train.models = '{models}', as {self.method} has it)"
            rank = self.model.lora_rank(role)
            require(not rank or models in ("both", role), f"model.{role}_lora", rank, rule)

    def _check_stages(self) -> None:
        share = self.train.teacher_share
        rule = "0 where exchange.shared isn't both: the teacher of these rounds is that of all"
        require(not share or self.exchange.shared == "both", "train.teacher_share", share, rule)
        rule = f"a share that leaves the teacher a round and the students one, of {self.rounds}"
        require(not share or 0 < self.teacher_rounds < self.rounds, "train.teacher_share", share, rule)
        begins = bool(self.model.pretrained) or self.model.student_init == "teacher_layers"
        rule = "0 with train.teacher_share where the student begins with the teacher's layers: adapters freeze them"
        rank = self.model.student_lora
        require(not (share and begins and rank), "model.student_lora", rank, rule)

    def _check_control(self) -> None:
        train, shared, key = self.train, self.exchange.shared, "train.control_variates"
        if not train.control_variates:
            return
        require(shared in ("student", "teacher"), key, True, "false where no model, or more than one, is shared")
        rule = f"sgd with {key}: a control variate is the mean gradient of plain steps"
        require(train.optimizer.lower() == "sgd", "train.optimizer", train.optimizer, rule)
        rule = f"0 with {key}: each would pull at what the other measures"
        require(not train.proximal, "train.proximal", train.proximal, rule)
        rule = f"another than sketch with {key}: a table can't tell the model from the control variate"
        require(not self.exchange.sketches, "exchange.up", self.exchange.up, rule)

    def _check_units(self) -> None:
        units, alone = self.exchange.units, self.train.models != "both" and self.exchange.shared != "none"
        rule = "1 where the shared model isn't trained alone: hidden states of a part of it have other widths"
        require(units == 1 or alone, "exchange.units", units, rule)
        rule = "1 with train.control_variates, which are means over all rounds"
        require(units == 1 or not self.train.control_variates, "exchange.units", units, rule)

    def _check_personal(self) -> None:
        part, key = self.exchange.personal, "exchange.personal"
        if not part:
            return
        alone = self.train.models == self.exchange.shared == "teacher"
        rule = "empty where not the teacher alone is trained and shared (train.models, exchange.shared)"
        require(alone, key, part, rule)
        rule = "empty with finishing rounds (edge.sparsity, edge.qat, edge.channels): only clients have whole models"
        require(self.total_rounds == self.rounds, key, part, rule)
        whole = self.exchange.units == 1 and not self.train.control_variates
        require(whole, key, part, "empty with train.control_variates, or with exchange.units below 1")
        rule = f"none with {key}: only clients have whole models"
        require(not self.edge.wanted, "edge.precisions", self.edge.precisions, rule)
        rule = "another than lora_b without adapters that train both matrices (model.teacher_lora, model.lora_freeze_a)"
        adapters = self.model.teacher_lora > 0 and not self.model.lora_freeze_a
        require(part != "lora_b" or adapters, key, part, rule)

    def _check_privacy(self) -> None:
        if not self.privacy.promised:
            return
        exchange, because = self.exchange, "with privacy.epsilon"
        require(exchange.shared != "none", "exchange.shared", exchange.shared, f"a model {because}: else nobody tells")
        rule = f"uniform {because}: a client that claims many examples would count for more than the noise hides"
        require(exchange.weighting == "uniform", "exchange.weighting", exchange.weighting, rule)
        rule = f"mean {because}: of other rules nobody knows how far one client moves them"
        require(self.guard.rule == "mean", "guard.rule", self.guard.rule, rule)
        rule = f"another than sketch {because}: a table's norm isn't its update's"
        require(not exchange.sketches, "exchange.up", exchange.up, rule)
        require(exchange.units == 1, "exchange.units", exchange.units, f"1 {because}")
        wide, rule = self.guard.norm >= self.privacy.clip, "0, or at least privacy.clip, the norm that updates have"
        require(wide or not self.guard.norm, "guard.norm", self.guard.norm, rule)
        require(not self.train.control_variates, "train.control_variates", True, f"false {because}")
        rule = f"false {because}: noise makes no ranges of what clients measured"
        require(not self.edge.qat, "edge.qat", True, rule)
        if self.clients:
            rule = f"below 1/{self.clients}, one in all clients"
            require(self.privacy.delta * self.clients < 1, "privacy.delta", self.privacy.delta, rule)

    def _check_losses(self) -> None:
        models = self.train.models
        for key, weight in self.loss.knowledge.items():
            require(models == "both", f"loss.{key}", weight, f"0 where one model is trained alone ({models})")
        rule = f"empty where models don't teach each other (train.models = '{models}', or all of loss.* is off)"
        teach = models == "both" and self.loss.teaches
        require(teach or not self.train.without_labels, "train.unlabelled", self.train.unlabelled, rule)
        batches = {"train": self.train} | {f"classes.{held.name}": held.of(self.train) for held in self.classes}
        for key, least in (("distance", 2), ("angle", 3)):
            rule = f"at least {least} for loss.{key}, which compares the examples of a batch"
            for section, train in batches.items():
                enough = key not in self.loss.knowledge or train.batch_size >= least
                require(enough, f"{section}.batch_size", train.batch_size, rule)

    def device_class(self, kind: str) -> DeviceClass | None:
        """The class of that name; None where there is none, so for clients that are of no class."""
        return next((held for held in self.classes if held.name == kind), None)

    def train_of(self, kind: str) -> TrainConfig:
        """How clients of a class train, or all others."""
        held = self.device_class(kind)
        return self.train if held is None else held.of(self.train)

    @property
    def participants(self) -> int:
        """Clients that a round asks."""
        return max(1, round(self.fraction * self.clients))

    @property
    def teacher_rounds(self) -> int:
        """The first rounds, in which the teacher alone is trained."""
        return round(self.train.teacher_share * self.rounds)

    @property
    def total_rounds(self) -> int:
        """Rounds of training and of finishing together."""
        return self.rounds + (self.edge.finish_rounds if self.edge.sparsity or self.reshapes else 0)

    @property
    def shown(self) -> str:
        """Of the models that are shared the one that ships in the end; ``none`` where none is."""
        return "student" if self.exchange.shared == "both" else self.exchange.shared

    @property
    def ships(self) -> bool:
        """Whether the server has a model in the end: one is shared, and nothing of it stays with the clients."""
        return self.exchange.shared != "none" and not self.exchange.personal

    @property
    def reshapes(self) -> bool:
        """Whether finishing rounds train another model in the place of the one that ships.

        So they do where it has adapters: their sums with the kernels are what can be pruned.
        """
        return self.edge.reshapes or bool(self.edge.sparsity and self.model.lora_rank(self.shown))

    @property
    def device_files(self) -> int:
        """Files that are made for devices at a run's end, one for each precision."""
        return len(self.edge.wanted) if self.ships else 0

    @property
    def prolongable(self) -> bool:
        """Whether a finished run can go on training: the shared model is what it was, and no promise is spent."""
        return self.total_rounds == self.rounds and not self.privacy.promised
