"""How an experiment's models are built: their initial weights, and what of them training may change."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fedkd.base.errors import InputError
from fedkd.base.seeding import Purpose, generator, integer
from fedkd.protocol.kinds import own_teacher
from fedkd.protocol.rules import ROLES
from fedkd.tasks.builtin import FirstLayers

if TYPE_CHECKING:
    import keras

    from fedkd.protocol.experiment import Experiment


def built(experiment: "Experiment", role: str, kind: str = "") -> "keras.Model":
    """Build the teacher or the student with its initial weights: the seed's, a file's, the teacher's layers.

    A teacher that only a kind of clients has is as its builder makes it; the file is for those of all others.

    Raises:
        InputError: The task's builder makes a model that can't be used, or a file's weights don't fit it.
    """
    from fedkd.models.first_layers import take_first_layers
    from fedkd.models.inspect import build_model
    from fedkd.models.logits import with_logits
    from fedkd.models.weights_file import load_weights

    config, task = experiment.config, experiment.task
    own = own_teacher(config, task, kind) is not None
    builder = _builder(experiment, role, kind)
    seed = integer(config.seed, Purpose.MODEL, ROLES.index(role))
    model = with_logits(build_model(builder, seed), task.objective.links)
    takes, row = tuple(model.inputs[0].shape[1:]), task.train.x.shape[1:]
    if len(takes) != len(row) or any(a not in (None, b) for a, b in zip(takes, row, strict=True)):
        raise InputError(f"the task's {role} takes inputs of shape {takes}, the task's examples have shape {row}")
    if role == "teacher" and not own and config.model.teacher_weights:
        load_weights(model, Path(config.model.teacher_weights), "teacher")
    if role == "student" and config.model.student_weights:
        load_weights(model, Path(config.model.student_weights), "student")
    if role == "student" and config.model.student_init == "teacher_layers":
        take_first_layers(built(experiment, "teacher"), model)
    return model


def adapted(experiment: "Experiment", role: str, kind: str, model: "keras.Model") -> "keras.Model":
    """Freeze a model but for its head and give it low-rank adapters, where ``model.teacher_lora`` or the like asks.

    Of a pretrained encoder's first layers nothing else is frozen: what lies behind them is as new as the head.

    Args:
        experiment: Whose model it is.
        role: ``teacher`` or ``student``.
        kind: Of clients, see ``fedkd.protocol.kinds``.
        model: Changed in place.

    Returns:
        The same model.

    Raises:
        InputError: It has no kernels for adapters, or one of fewer rows or columns than the rank.
    """
    from fedkd.models.adapt import Lora, adapt
    from fedkd.models.encoder import pretrained_layers
    from fedkd.models.first_layers import hidden_layers

    config, models = experiment.config, experiment.config.model
    if not (rank := models.lora_rank(role)):
        return model
    pretrained = isinstance(_builder(experiment, role, kind), FirstLayers)
    within = pretrained_layers(model) if pretrained else hidden_layers(model)
    rng = generator(config.seed, Purpose.ADAPTERS, ROLES.index(role))
    return adapt(model, within, Lora(rank, models.lora_alpha, models.lora_freeze_a), rng, f"model.{role}_lora")


def _builder(experiment: "Experiment", role: str, kind: str) -> "Callable[[], keras.Model]":
    if role == "student":
        return experiment.task.student
    return own_teacher(experiment.config, experiment.task, kind) or experiment.task.teacher
