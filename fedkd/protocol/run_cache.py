"""What one process makes once for all clients of a run: decoded broadcasts, shared directions, models to finish.

It belongs to the run's experiment and goes with it. What clients share, none may change: its arrays are read-only.
"""

import hashlib
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Generic, TypeVar

from fedkd.base.tensors import Spec, Weights, digest, frozen
from fedkd.exchange.basis import Bases
from fedkd.exchange.sub_model import SubModel, decode_part

if TYPE_CHECKING:
    from fedkd.protocol.experiment import Experiment
    from fedkd.protocol.local import Local

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


# Bytes of decoded broadcasts that are kept beside the newest.
_MOST = 1 << 27


class Recent(Generic[K, V]):
    """The last few of what is made by keys; threads that ask for the same wait for the first of them to make it.

    Args:
        size: How many are kept.
        room: Bytes of what is made; what is kept beside the newest takes at most ``_MOST``.
    """

    def __init__(self, size: int, room: Callable[[V], int] = lambda _: 0) -> None:
        self._size, self._room, self._kept, self._lock = size, room, OrderedDict[K, V](), threading.Lock()

    def get(self, key: K, make: Callable[[], V]) -> V:
        """Return what a key stands for, made now where it isn't kept."""
        with self._lock:
            if key not in self._kept:
                made = make()  # may raise, and nothing is kept then
                while len(self._kept) >= self._size or sum(map(self._room, self._kept.values())) > _MOST:
                    self._kept.popitem(last=False)
                self._kept[key] = made
            self._kept.move_to_end(key)
            return self._kept[key]


class RunCache:
    """What the process keeps of one run."""

    def __init__(self) -> None:
        self._broadcasts = Recent[tuple[str, Spec], Weights](8, lambda arrays: sum(array.nbytes for array in arrays))
        self._directions = Recent[tuple[Spec, int, int, bytes], Bases](2)
        self._sub_models = Recent[int, SubModel](2)
        self._locals = Recent[str, "Local"](sys.maxsize)
        self._stages = Recent[tuple[str, tuple[int, ...]], "Experiment"](3)
        self._begun = Recent[tuple[str, tuple[int, ...]], Weights](1)

    def broadcast(self, blob: bytes, spec: Spec, part: SubModel | None = None) -> Weights:
        """Return what all clients of a round decode of the server's blob, which is of a sub-model where it was.

        Raises:
            PayloadError: See ``fedkd.exchange.codec.decode``.
        """
        key = hashlib.sha256(blob).hexdigest(), spec  # not the blob, which may be as large as the model
        return list(self._broadcasts.get(key, lambda: frozen(decode_part(blob, spec, part).tensors)))

    def directions(self, spec: Spec, rank: int, round_: int, previous: bytes, make: Callable[[], Bases]) -> Bases:
        """Return the directions that follow from the last broadcast."""

        def made() -> Bases:
            bases = tuple(make())
            frozen(basis.vectors for basis in bases if basis)
            return bases

        return self._directions.get((spec, rank, round_, previous), made)

    def sub_model(self, round_: int, make: Callable[[], SubModel]) -> SubModel:
        """Return what a round trains and sends of the shared model."""
        return self._sub_models.get(round_, make)

    def local(self, kind: str, make: Callable[[], "Local"]) -> "Local":
        """Return what the experiment is to the clients of a kind."""
        return self._locals.get(kind, make)

    def stage(self, stage: str, removed_channels: tuple[int, ...], make: Callable[[], "Experiment"]) -> "Experiment":
        """Return the experiment of a stage; see ``fedkd.protocol.stages``."""
        return self._stages.get((stage, removed_channels), make)

    def begun(self, shared: Weights, removed_channels: tuple[int, ...], make: Callable[[], Weights]) -> Weights:
        """Return the weights that finishing rounds begin with, which follow from those before them."""
        return list(self._begun.get((digest(shared), removed_channels), lambda: frozen(make())))
