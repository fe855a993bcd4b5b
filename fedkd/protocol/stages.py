"""Stages of a run: rounds in which clients train the same models, each beginning with what the one before has left.

In a run's first rounds ``train.teacher_share`` may have the clients train and share the teacher alone. Then it stays as
it is, and the students that learn from it begin with its first layers. Finishing rounds may train another model, see
``fedkd.protocol.finishing``; all other rounds are of the stage that has no name.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from fedkd.base.tensors import Weights
from fedkd.config.config import Config

if TYPE_CHECKING:
    from fedkd.protocol.experiment import Experiment
    from fedkd.protocol.rules import Rules

TEACHER, TOGETHER, FINISHING = "teacher", "", "finishing"


def stage_of(config: Config, round_: int) -> str:
    """Return the stage that a round is of; from 1."""
    if round_ <= config.teacher_rounds:
        return TEACHER
    return FINISHING if config.reshapes and round_ > config.rounds else TOGETHER


def begins(config: Config, round_: int) -> bool:
    """Whether a round is the first of a stage that follows another one."""
    return round_ > 1 and stage_of(config, round_) != stage_of(config, round_ - 1)


def rounds_of(rules: "Rules") -> range:
    """Return the rounds that rules are for: those of their stage.

    The model of finishing rounds may lack what made them a stage, such as adapters.
    """
    config = rules.config
    if rules.stage == TEACHER:
        return range(1, config.teacher_rounds + 1)
    if rules.stage == FINISHING:
        return range(config.rounds + 1, config.total_rounds + 1)
    return range(config.teacher_rounds + 1, (config.rounds if config.reshapes else config.total_rounds) + 1)


def within_stage(config: Config, round_: int) -> tuple[int, int]:
    """Return the number of a round of training in its stage, from 1, and how many rounds that has."""
    before = config.teacher_rounds
    return (round_, before) if round_ <= before else (round_ - before, config.rounds - before)


def teacher_stage(experiment: "Experiment") -> "Experiment":
    """Return the experiment of the rounds in which the teacher alone is trained; it shares what all rounds share."""
    return replace(experiment, stage=TEACHER)


def with_teachers_layers(experiment: "Experiment", shared: Weights) -> Weights:
    """Return what is shared with the teacher's first layers in the place of the student's, where it is made of them.

    Args:
        experiment: With both models.
        shared: Both, as the rounds of the teacher alone have left them.
    """
    from fedkd.models.first_layers import tensor_pairs
    from fedkd.models.inspect import whole_weights

    model = experiment.config.model
    if not model.pretrained and model.student_init != "teacher_layers":
        return shared
    parts = experiment.parts(shared)
    teacher, student = (experiment.models[role] for role in ("teacher", "student"))
    whole = whole_weights(teacher, parts["teacher"])
    for theirs, own in tensor_pairs(teacher, student):
        parts["student"][own] = whole[theirs]
    return experiment.joined(parts)
