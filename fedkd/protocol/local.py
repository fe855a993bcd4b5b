"""What an experiment is to its clients: what trains their models, and the state in which it leaves them.

All else of an experiment is everybody's: data, the shared model, the coding of updates, the schedule. A client keeps
its teacher to itself, so teachers may differ; clients that train alike are of one *kind* (``fedkd.protocol.kinds``) and
share one ``Local``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fedkd.base.errors import InputError
from fedkd.base.seeding import Purpose, integer
from fedkd.base.tensors import State, Weights
from fedkd.data.dataset import Dataset
from fedkd.distill.class_weights import weigher
from fedkd.distill.trainer import Trainer
from fedkd.objectives.objective import quality
from fedkd.protocol.kinds import own_teacher, teaches
from fedkd.protocol.messages import PERSONAL, SHARED_PERSONAL, teacher_key
from fedkd.protocol.rules import ROLES, Rules
from fedkd.protocol.scaffold import OWN, zeros_like
from fedkd.protocol.state import ClientState

if TYPE_CHECKING:
    import keras

    from fedkd.distill.keras_trainer import KerasTrainer
    from fedkd.protocol.experiment import Experiment


@dataclass(frozen=True, eq=False)
class Local:
    """An experiment as clients of one kind see it.

    Args:
        experiment: What they share with all others.
        kind: Tells them from clients that train other models, or otherwise; empty for most.
        trainer: Of their models.
    """

    experiment: Rules
    kind: str
    trainer: Trainer

    def initial_state(self) -> State:
        """Return what a client holds before it has trained: its trainer's state, and what its transforms keep."""
        kept = {**self.trainer.initial_state(), **self.experiment.chain.initial(self.experiment.spec)}
        if not self.experiment.config.train.control_variates:
            return kept
        return kept | {OWN: zeros_like(kept[self.experiment.shown])}

    def teacher(self, state: ClientState) -> Weights | None:
        """Return a client's teacher after a round, its own or the one that all share beside the student; else None."""
        shared = self.experiment.parts(state.base) if len(self.experiment.shared_roles) > 1 else {}
        return state.local.get("teacher", shared.get("teacher"))

    def teacher_quality(self, teacher: Weights | None, held_out: Dataset) -> dict[str, float]:
        """Quality of a client's own teacher on the test set and on what it held out, where it has such examples."""
        if teacher is None:
            return {}
        test = self.experiment.task.test
        found = self._measured("teacher", teacher, test) if test is not None else {}
        figures = {teacher_key(name): value for name, value in found.items()}
        if not len(held_out):
            return figures
        return figures | {PERSONAL: self._deciding("teacher", teacher, held_out)}

    def shared_quality(self, base: Weights, held_out: Dataset) -> dict[str, float]:
        """Quality of the shared model, as a round begins with it, on what it held out; empty without either."""
        if not base or not len(held_out) or self.experiment.personal:
            return {}
        shown = self.experiment.shown
        return {SHARED_PERSONAL: self._deciding(shown, self.experiment.parts(base)[shown], held_out)}

    def _deciding(self, role: str, model: Weights, data: Dataset) -> float:
        return self._measured(role, model, data)[self.experiment.task.objective.metrics[0].name]

    def _measured(self, role: str, model: Weights, data: Dataset) -> dict[str, float]:
        return quality(self.experiment.task.objective, self.trainer.logits(role, model, data.x), data.y)


def trainer_of(experiment: "Experiment", kind: str = "") -> Trainer:
    """Return a new trainer of the models of clients of a kind, on the engine of theirs.

    Raises:
        InputError: The two models can't learn from each other as the settings say, or the engine lacks what they need.
    """
    task, train = experiment.task, experiment.config.train_of(kind)
    if train.engine == "tensorflow":
        return keras_trainer(experiment, kind)
    from fedkd.litert.opened import Opened
    from fedkd.litert.trainer import LiteRTTrainer

    weigh = weigher(train.class_weights, task.objective)
    return LiteRTTrainer(Opened(content_of(experiment, kind)), train.epochs, task.augment, weigh)


def content_of(experiment: "Experiment", kind: str, about: Mapping[str, Any] | None = None) -> bytes:
    """Return the file by which clients of a kind train without TensorFlow, which makes it.

    Args:
        experiment: Of the rounds the file is for.
        kind: Of clients.
        about: What else the file says, for those that have no more of the experiment.

    Raises:
        InputError: LiteRT lacks something that the models, losses or optimisers need.
    """
    from fedkd.litert.training_file import training_file

    config, example = experiment.config, experiment.task.train
    trainer = keras_trainer(experiment, kind)
    zeros = config.edge.sparsity > 0 or config.exchange.units < 1
    wanted = [f"{experiment.shown}.masks"] if experiment.shares and zeros else []
    if config.train.proximal:
        wanted += [f"{role}.anchors" for role in experiment.shared_roles if role in trainer.trained]
    if config.train.control_variates:
        wanted += [f"{experiment.shown}.corrections"]
    return training_file(trainer, example.x[:1], example.y[:1], wanted, about)


def keras_trainer(experiment: "Experiment", kind: str = "") -> "KerasTrainer":
    """Return a new trainer of Keras models; TensorFlow is imported here.

    Args:
        experiment: Says what is trained, and how.
        kind: Of clients.

    Raises:
        InputError: The two models can't learn from each other as the settings say.
    """
    from fedkd.distill.keras_trainer import KerasTrainer

    config, task, train = experiment.config, experiment.task, experiment.config.train_of(kind)
    seed = integer(config.seed, Purpose.MODEL, len(ROLES))
    return KerasTrainer(models_of(experiment, kind), train, config.loss, task.objective, seed, task.augment)


def models_of(experiment: "Experiment", kind: str) -> "Mapping[str, keras.Model]":
    """Return the models that clients of a kind train, as they were built, by role; the shared one is everybody's.

    Raises:
        InputError: Clients differ in a teacher that the method has them share, or theirs can't be built.
    """
    models, config = {role: experiment.models[role] for role in experiment.roles}, experiment.config
    if not kind or "teacher" not in experiment.roles:
        return models
    if not teaches(config, kind):
        return {role: model for role, model in models.items() if role != "teacher"}
    if own_teacher(config, experiment.task, kind) is None:
        return models
    if "teacher" in experiment.shared_roles:
        raise InputError(
            f"task.teachers must be empty with method {config.method!r}, which shares the teacher; got another one for"
            f" client {kind}"
        )
    teacher = experiment.build("teacher", kind)
    return {**models, "teacher": teacher}
