"""Error feedback: what compression loses of an update is added to the next one (Karimireddy et al., ICML 2019)."""

import numpy as np

from fedkd.base.tensors import Spec, Weights, add, subtract, zeros
from fedkd.exchange.transforms import Context, Sent, Transform


class ErrorFeedback(Transform):
    """Keeps a residual: what the updates so far have left behind."""

    group = "residual"

    def initial(self, spec: Spec) -> Weights:
        """Return zeros."""
        return [zeros(item.shape, np.dtype(np.float32)) for item in spec]

    def apply(self, update: Weights, state: Weights, context: Context) -> tuple[Weights, Weights]:
        """Add the residual."""
        return add(update, state), state

    def sent(self, sent: Sent, state: Weights) -> Weights:
        """Return what was wanted without what the receiver decodes."""
        return subtract(sent.update, sent.payload.tensors)
