"""The way of an update from its tensors to a blob: the transforms that a configuration asks for, one by one."""

from collections.abc import Mapping
from dataclasses import dataclass

from fedkd.base.tensors import Spec, Weights
from fedkd.config.sections import ExchangeConfig
from fedkd.exchange.basis import Bases
from fedkd.exchange.blob import Header
from fedkd.exchange.codec import encode
from fedkd.exchange.coding import Coding
from fedkd.exchange.feedback import ErrorFeedback
from fedkd.exchange.transforms import Context, Sent, Transform
from fedkd.exchange.zeros import WithinZeros

# What transforms keep between rounds, by their groups; who keeps nothing has none.
States = Mapping[str, Weights]


@dataclass(frozen=True)
class Chain:
    """Transforms in the order in which they change an update."""

    transforms: tuple[Transform, ...] = ()

    @property
    def groups(self) -> frozenset[str]:
        """Those of all transforms, whether or not they keep something."""
        return frozenset(transform.group for transform in self.transforms)

    def initial(self, spec: Spec) -> States:
        """What is kept before the first round."""
        return _filled({transform.group: transform.initial(spec) for transform in self.transforms})

    def send(
        self,
        update: Weights,
        states: States,
        context: Context,
        header: Header,
        coding: Coding,
        bases: Bases | None = None,
    ) -> tuple[Sent, States]:
        """Transform and encode an update.

        Args:
            update: float32, as the spec says.
            states: What was kept of the round before; where a transform has none, it begins anew.
            context: Of the round.
            header: Of the blob.
            coding: How to compress.
            bases: Directions that the receiver knows too.

        Returns:
            What is sent, and what is kept for the next round.

        Raises:
            PayloadError: See ``fedkd.exchange.codec.encode``.
        """
        held = {**self.initial(context.spec), **states}
        for transform in self.transforms:
            update, held[transform.group] = transform.apply(update, held.get(transform.group, []), context)
        sent = Sent(update, encode(update, context.spec, header, coding, bases, context.rng), context.spec, bases)
        return sent, _filled({each.group: each.sent(sent, held[each.group]) for each in self.transforms})


def chain_of(exchange: ExchangeConfig) -> Chain:
    """Return the chain of a configuration; clipping, noise and masks have their places in it."""
    transforms: list[Transform] = []
    if exchange.feedback:
        transforms.append(WithinZeros(ErrorFeedback()))
    return Chain(tuple(transforms))


def _filled(states: States) -> States:
    return {group: arrays for group, arrays in states.items() if arrays}
