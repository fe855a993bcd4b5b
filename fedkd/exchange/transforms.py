"""What may happen to an update before it is encoded: transforms, each of which may keep something between rounds.

They are composed as in optax (``optax.chain``) and pfl-research (``Postprocessor``), and are the same on clients and
server, but for the two sides of a sketch. A further transform is a class in a file of its own, and a line in
``fedkd.exchange.chain``.
"""

from abc import ABC
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fedkd.base.tensors import Spec, Weights
from fedkd.exchange.basis import Bases
from fedkd.exchange.codec import Payload
from fedkd.exchange.sub_model import SubModel, decode_part


@dataclass(frozen=True)
class Context:
    """What transforms may know of a round.

    Args:
        spec: The model's tensors.
        kept: For each tensor which of its numbers aren't pruned in the round, 1 or 0; None where nothing is pruned.
        rng: Of the sender in the round; whatever is drawn changes the stochastic rounding that follows.
        sub_model: Of the round, where only some units are trained and sent.
        bases: Directions that the receiver knows too, where the method has such.
    """

    spec: Spec
    kept: Weights | None
    rng: np.random.Generator
    sub_model: SubModel | None = None
    bases: Bases | None = None


@dataclass(frozen=True, eq=False)
class Sent:
    """An update on its way.

    Args:
        update: As the last transform left it, before it was encoded.
        blob: What is sent.
        spec: Of the tensors that are sent.
        bases: Directions that the receiver knows too.
        sub_model: Of which the update is.
    """

    update: Weights
    blob: bytes
    spec: Spec
    bases: Bases | None = None
    sub_model: SubModel | None = None

    @cached_property
    def payload(self) -> Payload:
        """What the receiver decodes; decoded once, and only where somebody asks."""
        return decode_part(self.blob, self.spec, self.sub_model, self.bases)


class Transform(ABC):
    """One step of a chain. By default it keeps nothing and changes nothing.

    One object serves all clients of a process, side by side: it holds settings, and all else in the states it is given.
    """

    group: str  # under which its state is kept, on disk too; ``transform.NAME`` unless it is an old one

    def initial(self, spec: Spec) -> Weights:
        """Return the state before the first round, float32 arrays."""
        return []

    def apply(self, update: Weights, state: Weights, context: Context) -> tuple[Weights, Weights]:
        """Change an update before it is encoded.

        Args:
            update: float32, as the spec says; not to be changed in place.
            state: What was kept of the round before.
            context: Of the round.

        Returns:
            The update, as ``sends`` says, and the state, of the same shapes.
        """
        return update, state

    def sends(self, spec: Spec) -> Spec:
        """Return what an update's tensors are behind it, from what they are before it: the same."""
        return spec

    def sent(self, sent: Sent, state: Weights) -> Weights:
        """Return what is kept for the next round, once the update is encoded.

        Args:
            sent: The update as it was wanted, and as the receiver decodes it.
            state: From ``apply``.
        """
        return state
