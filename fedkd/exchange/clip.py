"""Bounds on the norm of an update."""

import math
from dataclasses import dataclass

import numpy as np

from fedkd.base.errors import require
from fedkd.base.tensors import Weights, squared_norm
from fedkd.exchange.transforms import Context, Transform


@dataclass(frozen=True)
class Clip(Transform):
    """Scales an update whose L2 norm over all tensors is above a bound down to it (Pascanu et al., ICML 2013).

    Args:
        bound: Above 0.

    Raises:
        InputError: It isn't, or infinite.
    """

    bound: float

    group = "transform.clip"

    def __post_init__(self) -> None:
        """Check the rule."""
        require(0 < self.bound < math.inf, "exchange.transforms: clip", self.bound, "above 0 and finite")

    def apply(self, update: Weights, state: Weights, context: Context) -> tuple[Weights, Weights]:
        """Return the update, smaller where it must be."""
        return self.bounded(update, update), state

    def bounded(self, update: Weights, measured: Weights) -> Weights:
        """Return the update, scaled so that what is measured of it is within the bound."""
        length = math.sqrt(squared_norm(measured))
        if length <= self.bound:
            return update
        scale = np.float64(self.bound / length)  # which may be less than float32 holds
        return [(array * scale).astype(np.float32) for array in update]


@dataclass(frozen=True)
class ClipSent(Clip):
    """Bounds what is sent of an update: of a matrix for which both sides know directions that is its part in them.

    The server does the same with what it decodes, see ``fedkd.privacy.noise``; a client does it before it encodes, so
    that its error feedback knows what arrives.
    """

    group = "transform.bound"

    def apply(self, update: Weights, state: Weights, context: Context) -> tuple[Weights, Weights]:
        """Return the update, smaller where it must be."""
        bases = context.bases or [None] * len(update)
        pairs = zip(update, context.spec, bases, strict=True)
        sent = [u if basis is None else basis.coordinates(u.reshape(item.matrix)) for u, item, basis in pairs]
        return self.bounded(update, sent), state
