"""Personal tensors: those of a shared model that stay with each client, which so has a model of its own.

What is shared is then the other tensors alone, to which all the rest of the protocol applies. Nobody but the clients
has a whole model: they keep theirs as they keep teachers that aren't shared, and a round's quality is their mean.
"""

from collections.abc import Collection, Sequence
from typing import TypeVar

T = TypeVar("T")


def shared_part(tensors: Sequence[T], personal: Collection[int]) -> list[T]:
    """Return what of a model's tensors is shared.

    Args:
        tensors: Anything that there is one of for each tensor of the model.
        personal: Places of those that stay with each client.
    """
    return [tensor for place, tensor in enumerate(tensors) if place not in personal]


def with_shared(own: Sequence[T], shared: Sequence[T], personal: Collection[int]) -> list[T]:
    """Return a client's model with what is shared in its place.

    Args:
        own: All tensors of the client's model.
        shared: Those that aren't personal, in their order.
        personal: As above.
    """
    others = iter(shared)
    return [tensor if place in personal else next(others) for place, tensor in enumerate(own)]
