"""Pruning, as another transform sees it: what it keeps for pruned weights goes."""

from fedkd.base.tensors import Spec, Weights
from fedkd.exchange.transforms import Context, Sent, Transform


class WithinZeros(Transform):
    """Drops what a transform keeps for weights that are pruned: the next base wouldn't have it.

    Args:
        inner: Its state has the shapes of the model's tensors.
    """

    def __init__(self, inner: Transform) -> None:
        self._inner, self.group = inner, inner.group

    def initial(self, spec: Spec) -> Weights:
        """Return the inner transform's."""
        return self._inner.initial(spec)

    def apply(self, update: Weights, state: Weights, context: Context) -> tuple[Weights, Weights]:
        """Apply the inner transform with zeros in its state where weights are pruned."""
        if context.kept is not None:
            state = [held * kept for held, kept in zip(state, context.kept, strict=True)]
        return self._inner.apply(update, state, context)

    def sent(self, sent: Sent, state: Weights) -> Weights:
        """Return what the inner transform keeps."""
        return self._inner.sent(sent, state)
