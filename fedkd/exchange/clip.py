"""A bound on the norm of an update."""

import math
from dataclasses import dataclass

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
        length = math.sqrt(squared_norm(update))
        return (update if length <= self.bound else [array * (self.bound / length) for array in update]), state
