"""A client's training in a round: from the base, within what the round and the method ask of its steps."""

from collections.abc import Mapping

import numpy as np

from fedkd.base.tensors import State, Weights, subtract
from fedkd.config.sections import TrainConfig
from fedkd.data.dataset import Dataset
from fedkd.exchange.blob import PayloadError
from fedkd.exchange.transforms import Context
from fedkd.protocol import scaffold
from fedkd.protocol.local import Local
from fedkd.protocol.personal import with_shared
from fedkd.protocol.state import Offer


def trained(
    state: State, base: Weights, offer: Offer, data: Dataset, local: Local, context: Context
) -> tuple[State, Weights, dict[str, float]]:
    """Train a client's models.

    Args:
        state: What it keeps, but for its transforms' state.
        base: Of the round.
        offer: The server's.
        data: Its training examples.
        local: Of the round.
        context: Of the round.

    Returns:
        What it keeps after the round, without what is shared; how that changed; the mean loss of each role.

    Raises:
        PayloadError: Training ended in NaN or Inf.
    """
    experiment, part = local.experiment, context.sub_model
    if part is not None:
        base = part.spread(part.taken(base), context.spec)
    after, losses = _fit(state, base, offer, data, local, context)
    check_trained(after, losses, experiment.config.train)
    parts = {role: experiment.shared_of(after.get(role, before)) for role, before in experiment.parts(base).items()}
    after = experiment.without_shared(after)
    update = subtract(experiment.joined(parts), base)
    if part is not None:  # what layers have measured of units that weren't there is nothing
        update = part.spread(part.taken(update), context.spec)
    if scaffold.OWN in state:
        way = local.trainer.steps_of(len(data)) * _learning_rate(local, offer.round)
        after[scaffold.OWN] = scaffold.after_round(state[scaffold.OWN], base, update, way, local, context.kept)
        update = scaffold.with_change(update, state[scaffold.OWN], after[scaffold.OWN], experiment)
    return after, update, losses


def _fit(
    state: State, base: Weights, offer: Offer, data: Dataset, local: Local, context: Context
) -> tuple[State, dict[str, float]]:
    """Train from the base, within the round's zeros and near the base where the method says so."""
    experiment, trainer = local.experiment, local.trainer
    config, rate = experiment.config, experiment.rate(offer.round)
    if not base:
        return trainer.fit(state, data, context.rng, rate)
    shared = {role: part for role, part in experiment.parts(base).items() if role in trainer.roles}
    if experiment.personal:
        shared = {role: with_shared(state[role], part, experiment.personal) for role, part in shared.items()}
    moved = [role for role in shared if f"{role}.moments" in state]
    if config.train.reset_student_moments:
        state = state | {f"{role}.moments": trainer.initial_moments(role) for role in moved}
    keep = near = None
    kept = context.kept if context.sub_model is None else context.sub_model.masks(context.spec)
    if kept is not None:  # only what ships has zeros to keep
        keep = {role: trainer.trainable(role, experiment.parts(kept)[role]) for role in [experiment.shown]}
    if config.train.proximal:
        near = {role: trainer.trainable(role, shared[role]) for role in moved}
    corrections = scaffold.corrections(state, base, local)
    held = {group: arrays for group, arrays in state.items() if group != scaffold.OWN}
    return trainer.fit({**held, **shared}, data, context.rng, rate, keep, near, corrections)


def _learning_rate(local: Local, round_: int) -> float:
    """That of the model which is shared."""
    experiment, train = local.experiment, local.experiment.config.train
    rates = {"teacher": train.teacher_lr, "student": train.student_lr}
    return rates[experiment.shown] * experiment.rate(round_)


def check_trained(state: State, losses: Mapping[str, float], train: TrainConfig) -> None:
    """Refuse what training has made of a client's models where it isn't finite: it would never get better.

    Args:
        state: After training; of its groups the models count, and what matches their hidden states.
        losses: Mean loss of each role.
        train: Whose learning rates are told.

    Raises:
        PayloadError: A number is NaN or infinite; says what to change.
    """
    groups = [group for group in (*losses, "projection") if group in state]
    broken = [group for group in groups if not all(np.isfinite(array).all() for array in state[group])]
    if broken:
        rates = {"teacher": train.teacher_lr, "student": train.student_lr}
        found = ", ".join(f"loss of the {role} {loss:g}" for role, loss in losses.items())
        lower = " or ".join(f"train.{role}_lr ({rates[role]:g})" for role in losses)
        text = f"training made the {' and the '.join(broken)} NaN or infinite ({found}): lower {lower}, or look for"
        raise PayloadError("not_finite", f"{text} divisions and logarithms in layers and losses of your own")
