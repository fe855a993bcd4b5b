"""A configuration made real, as server and clients share it: its task, who holds which rows, the models as built."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fedkd.base import runtime
from fedkd.base.contents import hash_record
from fedkd.base.errors import InputError
from fedkd.base.seeding import Purpose, generator
from fedkd.base.tensors import Spec, TensorSpec, Weights, digest
from fedkd.config.config import Config
from fedkd.config.deciding import deciding
from fedkd.config.device_class import dealt
from fedkd.data.dataset import Dataset
from fedkd.exchange.sub_model import Units
from fedkd.objectives.metric import Metric
from fedkd.objectives.objective import quality
from fedkd.protocol.building import adapted, built
from fedkd.protocol.contents import contents_of, deal_of
from fedkd.protocol.finishing import finishing, reshaped
from fedkd.protocol.local import Local, trainer_of
from fedkd.protocol.measuring import evaluation_interval
from fedkd.protocol.promise import Promise, promise_of
from fedkd.protocol.rules import ROLES, Rules, held_apart
from fedkd.protocol.run_cache import RunCache
from fedkd.protocol.scaffold import CONTROL, control_spec
from fedkd.protocol.sizes import counted
from fedkd.protocol.stages import FINISHING, TEACHER, TOGETHER, stage_of, teacher_stage, with_teachers_layers
from fedkd.tasks.task import Task

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True, eq=False)
class Experiment(Rules):
    """Everything that servers and clients derive alike from a configuration.

    Args:
        config: Resolved: the number of clients is known.
        task: Its data and models.
        calibration: Training rows that stay with the server, for the ranges of the int8 model.
        rows: For each client the training rows it holds; empty where nodes have their own examples.
        stage: What is trained, see ``fedkd.protocol.stages``.

    Attributes:
        cache: What this process makes once for all clients; each experiment has its own.
    """

    config: Config
    task: Task
    calibration: np.ndarray
    rows: tuple[np.ndarray, ...]
    stage: str = TOGETHER
    cache: RunCache = field(default_factory=RunCache, init=False, repr=False)

    @cached_property
    def contents(self) -> dict[str, str]:
        """SHA-256 of what server and clients are both given, read once; see ``fedkd.protocol.contents``."""
        return contents_of(self.task, self.config) | deal_of(self.rows, self.config)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (64 hex digits) of all that decides a result: settings, examples, their deal, weights; no paths.

        The same on server and clients, so that it leaves out what only one of them has: the calibration file, which a
        checkpoint knows (``server.given``), and a node's own examples.
        """
        return hash_record({"settings": deciding(self.config), "contents": self.contents})

    @cached_property
    def promise(self) -> Promise | None:
        """What the run promises its clients, see ``fedkd.protocol.promise``; None where nothing.

        Raises:
            InputError: It can't be kept.
        """
        return promise_of(self)

    def client_data(self, partition_id: int, own: Dataset | None = None) -> tuple[Dataset, Dataset]:
        """Return what a client trains on and what it holds out, which no model of the run is trained on.

        Args:
            partition_id: Which client.
            own: Its own examples; None where it has those the partition deals it.

        Raises:
            InputError: It has none, and none are dealt.
        """
        if own is None and not self.rows:
            raise InputError(f"client {partition_id}: partition.kind = 'nodes' deals nothing; start it with data=FILE")
        whole, rows = (self.task.train, self.rows[partition_id]) if own is None else (own, np.arange(len(own)))
        rng = generator(self.config.seed, Purpose.HOLDOUT, partition_id)
        train, held_out = held_apart(whole, rows, self.config.train.holdout, rng)
        return replace(train, unlabelled=self._unlabelled(own)), held_out

    def dealt(self, client: int) -> Dataset:
        """Return all that a client is dealt, with those that have no labels: what a node of its own would bring."""
        return replace(self.task.train.take(self.rows[client]), unlabelled=self.task.train.unlabelled)

    def _unlabelled(self, own: Dataset | None) -> np.ndarray | None:
        """What a client has without labels: its own examples, or those that all are given."""
        if not self.config.train.without_labels:
            return None
        return self.task.train.unlabelled if own is None or own.unlabelled is None else own.unlabelled

    def at(self, round_: int, removed_channels: Sequence[int]) -> "Experiment":
        """Return the experiment of a round: as it is, of the teacher alone, or with the finishing rounds' model."""
        stage = stage_of(self.config, round_)
        if stage == TEACHER:
            return self.cache.stage(stage, (), lambda: teacher_stage(self))
        removed = tuple(removed_channels)
        return self if stage == TOGETHER else self.cache.stage(stage, removed, lambda: finishing(self, removed))

    def begun(self, stage: str, removed_channels: Sequence[int], shared: Weights) -> Weights:
        """Return the weights that a stage begins with, read-only."""
        if stage == FINISHING:
            return reshaped(self, removed_channels, shared)
        return with_teachers_layers(self, shared)

    def local(self, client: int | None = None, said: str = "") -> Local:
        """Return what the experiment is to a client, one object for all of its kind; None for that of most clients.

        Args:
            client: Its number.
            said: The class of devices that a node says it is of, whatever it was dealt; empty where it says nothing.
        """
        return self._local(said or ("" if client is None else self.kind(client)))

    def _local(self, kind: str) -> Local:
        return self.cache.local(kind, lambda: Local(self, kind, trainer_of(self, kind)))

    def locals(self) -> list[Local]:
        """Return what the experiment is to its clients, once for each kind of them.

        Raises:
            InputError: Their models can't learn from each other, or a teacher is that of no client, or the task and
                the configuration both tell clients apart.
        """
        if self.task.teachers and self.config.classes:
            names = " ".join(held.name for held in self.config.classes)
            raise InputError(
                f"classes must be left out where the task has teachers of its own for clients, got {names!r}"
            )
        if strangers := [client for client in self.task.teachers if not 0 <= client < self.config.clients]:
            most = self.config.clients - 1
            raise InputError(f"task.teachers holds client {strangers[0]}, clients must be from 0 to {most}")
        # Nodes that have their own examples may be of any class.
        may_come = [held.name for held in self.config.classes if not self.rows]
        return [self._local(kind) for kind in dict.fromkeys([*map(self.kind, self._clients), *may_come])]

    def kind(self, client: int) -> str:
        """Return what tells a client from those that train other models, or otherwise; empty for most."""
        return self._dealt.get(client) or self.task.kind(client)

    @cached_property
    def _dealt(self) -> Mapping[int, str]:
        return dealt(self.config.classes, self.config.clients, self.config.seed)

    @cached_property
    def models(self) -> "Mapping[str, keras.Model]":
        """The models that most clients train or share, as they were built, by role; TensorFlow is imported here."""
        return {role: self.build(role) for role in ROLES if role in (*self.roles, *self.shared_roles)}

    @property
    def _clients(self) -> range:
        return range(self.config.clients)

    @property
    def threads(self) -> int:
        """Threads for clients side by side, and for the server's own work between their rounds."""
        return self.config.threads or runtime.cores()

    def initial_shared(self) -> Weights:
        """The shared model before the first round, which the seed alone determines; empty where none is shared."""
        models = map(self.untrained, self.shared_roles)
        return self.with_control([tensor for model in models for tensor in self.shared_of(model)])

    def untrained(self, role: str) -> Weights:
        """Return the weights with which a model was built."""
        from fedkd.models.inspect import get_weights

        return get_weights(self.models[role])

    @property
    def shared_model(self) -> "keras.Model":
        """The shared model as it was built; of two the one that ships."""
        return self.models[self.shown]

    def build(self, role: str, kind: str = "") -> "keras.Model":
        """Build the teacher or the student of a kind of clients, see ``fedkd.protocol.building``."""
        return adapted(self, role, kind, built(self, role, kind))

    @cached_property
    def spec(self) -> Spec:
        """Tensors of the shared model, or of both: the teacher's, then the student's."""
        models = tuple(self._named(role, item) for role, spec in self._specs.items() for item in spec)
        return models + (control_spec(models) if self.config.train.control_variates else ())

    def _named(self, role: str, item: TensorSpec) -> TensorSpec:
        """A tensor of a shared model; where there are two, names say of which, and only what ships is pruned."""
        if len(self.shared_roles) == 1:
            return item
        return replace(item, name=f"{role}/{item.name}", kernel=item.kernel and role == "student")

    @cached_property
    def _specs(self) -> Mapping[str, Spec]:
        from fedkd.models.inspect import model_spec

        return {role: tuple(self.shared_of(model_spec(self.models[role]))) for role in self.shared_roles}

    @cached_property
    def personal(self) -> frozenset[int]:
        """Places of the shared model's tensors that stay with each client; none for most methods.

        Raises:
            InputError: The model has no such tensors, or no others.
        """
        from fedkd.models.personal import personal_places

        part = self.config.exchange.personal
        return personal_places(self.shared_model, part) if part else frozenset()

    @cached_property
    def shared_sizes(self) -> Mapping[str, int]:
        """Numbers of tensors of the models that are shared, by role."""
        sizes = {role: len(spec) for role, spec in self._specs.items()}
        return sizes | ({CONTROL: sum(sizes.values())} if self.config.train.control_variates else {})

    @cached_property
    def frozen(self) -> str:
        """SHA-256 (64 hex digits) of what training doesn't change of the shared model; empty where it changes all."""
        from fedkd.models.inspect import frozen

        weights = [array for role in self.shared_roles for array in frozen(self.models[role])]
        return digest(weights) if weights else ""

    @cached_property
    def evaluation_interval(self) -> int:
        """Rounds from one measurement of the teachers to the next."""
        return evaluation_interval(self)

    @cached_property
    def units(self) -> Units:
        """Which units of the shared model a round may leave out.

        Raises:
            InputError: It has none, or its graph can't be seen.
        """
        from fedkd.compress.units import units_of

        found = units_of(self.shared_model)
        if not found.layers:
            raise InputError(
                f"exchange.units must be 1 with the {self.shown} of task {self.config.task!r}, got"
                f" {self.config.exchange.units}: no layer of it has units that can be left out"
            )
        return found

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """Those of the task, the deciding one first."""
        return self.task.objective.metrics

    def quality(self, weights: Weights, threads: int = 1) -> dict[str, float]:
        """Every metric of the shared model on the test set, by name."""
        test, trainer = self.task.test, self.local().trainer
        logits = trainer.logits(self.shown, self.parts(weights)[self.shown], test.x, threads)
        return quality(self.task.objective, logits, test.y)

    @cached_property
    def parameters(self) -> dict[str, int]:
        """Parameter counts of the teacher, the mean over clients that have one, and the student, trained or not."""
        from fedkd.models.inspect import parameters

        return counted(self, parameters)

    @cached_property
    def moving_parameters(self) -> dict[str, int]:
        """The same of what isn't frozen, which is what plain averaging would send."""
        from fedkd.models.inspect import moving_parameters

        return counted(self, moving_parameters)

    def taken_layers(self) -> tuple[int, int]:
        """Of how many of its hidden layers the student has the teacher's, and how many it has."""
        from fedkd.models.first_layers import first_layers, hidden_layers

        teacher, student = (self.model(role) for role in ROLES)
        return len(first_layers(teacher, student)), len(hidden_layers(student))

    def model(self, role: str) -> "keras.Model":
        """Return a model as it was built, whether or not the experiment has a use for it."""
        return self.models[role] if role in self.models else self.build(role)
