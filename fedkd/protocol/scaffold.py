"""SCAFFOLD: control variates that keep clients of unlike data from drifting apart (Karimireddy et al., ICML 2020).

A client holds c_i, an estimate of the gradient of its own loss, and all share c, the clients' mean. Each gradient of a
client is corrected by c - c_i. As c must be the same on all sides, it is shared as the model is: what both sides hold
is the model's tensors and, behind them, c; what a client sends is the change of both, by the ordinary codec.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from fedkd.base.tensors import Spec, State, Weights, subtract

if TYPE_CHECKING:
    from fedkd.protocol.local import Local
    from fedkd.protocol.rules import Rules

CONTROL = "control"  # what c is called among what is shared
OWN = "control.own"  # group of a client's state that holds c_i


def control_spec(spec: Spec) -> Spec:
    """Return the tensors of c for those of a model; of what isn't trained they are zero, which costs nothing."""
    return tuple(replace(s, name=f"control of {s.name}", kernel=False, statistic=False) for s in spec)


def zeros_like(tensors: Weights) -> Weights:
    """Return a control variate before the first round, for a model's tensors."""
    return [np.zeros(tensor.shape, np.float32) for tensor in tensors]


def corrections(state: State, base: Weights, local: "Local") -> dict[str, Weights] | None:
    """Return c - c_i, which is added to each gradient, by role; None for clients without control variates."""
    if OWN not in state:
        return None
    mean, role = local.experiment.parts(base)[CONTROL], local.experiment.shown
    return {role: local.trainer.trainable(role, subtract(mean, state[OWN]))}


def after_round(
    own: Weights, base: Weights, update: Weights, way: float, local: "Local", kept: Weights | None
) -> Weights:
    """Return c_i after a round, by option II: c_i - c + (x - y_i) / (K η), the mean of the round's own gradients.

    Args:
        own: c_i before it.
        base: The model x, and c.
        update: How K steps of plain SGD have changed the model, y_i - x, and what isn't looked at.
        way: K η, steps times learning rate.
        local: Tells what is trained.
        kept: For each tensor which of its numbers aren't pruned, 1 or 0: those that are have no control variate. None
            where nothing is pruned.

    Reference:
        Karimireddy et al., ICML 2020, algorithm 1 and eq. 4.
    """
    mean, role, after = local.experiment.parts(base)[CONTROL], local.experiment.shown, list(own)
    for i in local.trainer.trainable(role, range(len(own))):
        found = own[i].astype(np.float64) - mean[i] - update[i] / np.float64(way)
        after[i] = (found if kept is None else found * kept[i]).astype(np.float32)
    return after


def with_change(update: Weights, before: Weights, after: Weights, rules: "Rules") -> Weights:
    """Return what a client sends: how the model changed, and how its c_i did."""
    return rules.joined({**rules.parts(update), CONTROL: subtract(after, before)})


def over_all_clients(mean: Weights, taken: int, rules: "Rules") -> Weights:
    """Return how the model and c change: the mean change of the c_i of those that took part counts by their share.

    Args:
        mean: Over the updates of ``taken`` clients.
        taken: Number of these.
        rules: Of the round.
    """
    parts = rules.parts(mean)
    if CONTROL not in parts:
        return mean
    share = np.float32(taken / rules.config.clients)
    return rules.joined({**parts, CONTROL: [array * share for array in parts[CONTROL]]})
