"""Sub-models: a model without some units of its layers, so that of most tensors some rows and columns are left.

Which units a round leaves out follows from the seed, so nothing of it is sent (Caldas et al., arXiv:1812.07210, 2018).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from fedkd.base.tensors import Spec, TensorSpec, Weights
from fedkd.exchange.basis import Bases
from fedkd.exchange.blob import Header
from fedkd.exchange.codec import Payload, decode

FIXED = 0  # the number of all that has to stay


@dataclass(frozen=True, eq=False)
class Units:
    """Which units the tensors of a model belong to.

    Args:
        layers: For each layer that makes some the numbers of its units, ascending; what layers have in common, such as
            the sum of two, is of the first.
        axes: For each tensor, by axis from its end, the number of the unit that each place along it belongs to.
    """

    layers: Sequence[np.ndarray]
    axes: Sequence[Mapping[int, np.ndarray]]

    def draw(self, share: float, rng: np.random.Generator) -> "SubModel":
        """Draw a sub-model in which each layer has a share of its units, one at least.

        Args:
            share: In (0, 1).
            rng: The only source of chance.
        """
        fewer = [len(units) - max(1, round(share * len(units))) for units in self.layers]
        gone = [rng.choice(units, count, replace=False) for units, count in zip(self.layers, fewer, strict=True)]
        return SubModel(self.axes, np.concatenate([np.empty(0, int), *gone]))

    def to_json(self) -> dict[str, Any]:
        """Return the units as a table for JSON."""
        axes = [{str(axis): numbers.tolist() for axis, numbers in each.items()} for each in self.axes]
        return {"layers": [units.tolist() for units in self.layers], "axes": axes}

    @classmethod
    def from_json(cls, table: Mapping[str, Any]) -> "Units":
        """Undo ``to_json``."""
        axes = [{int(axis): np.array(numbers, int) for axis, numbers in each.items()} for each in table["axes"]]
        return cls([np.array(units, int) for units in table["layers"]], axes)


@dataclass(frozen=True, eq=False)
class SubModel:
    """What is left of a model's tensors without some units.

    Args:
        axes: See ``Units``.
        gone: Numbers of the units that are left out.
    """

    axes: Sequence[Mapping[int, np.ndarray]]
    gone: np.ndarray

    @cached_property
    def _stays(self) -> list[dict[int, np.ndarray]]:
        """For each tensor, by axis, which places stay, bool."""
        return [{axis: ~np.isin(units, self.gone) for axis, units in each.items()} for each in self.axes]

    def spec(self, spec: Spec) -> Spec:
        """Return what the tensors are in the sub-model."""
        return tuple(_smaller(item, stays) for item, stays in zip(spec, self._stays, strict=True))

    def taken(self, tensors: Weights) -> Weights:
        """Return what is left of a model's tensors."""
        return [tensor[_places(tensor.shape, stays)] for tensor, stays in zip(tensors, self._stays, strict=True)]

    def spread(self, tensors: Weights, spec: Spec) -> Weights:
        """Put a sub-model's tensors among zeros, in the places that they have in the model."""
        whole = [np.zeros(item.shape, np.float32) for item in spec]
        for into, tensor, stays in zip(whole, tensors, self._stays, strict=True):
            into[_places(into.shape, stays)] = tensor
        return whole

    def masks(self, spec: Spec) -> Weights:
        """Return 1 for the numbers that are left of each tensor, 0 for the others, float32."""
        return self.spread([np.ones(item.shape, np.float32) for item in self.spec(spec)], spec)


def decode_part(
    blob: bytes, spec: Spec, part: SubModel | None, bases: Bases | None = None, expected: Header | None = None
) -> Payload:
    """Decode an update of a sub-model, or of the whole model where there is none, see ``fedkd.exchange.codec.decode``.

    Args:
        blob: From the network.
        spec: The model's tensors.
        part: Of the round.
        bases: See there.
        expected: See there.

    Returns:
        The update of the model, with zeros where the sub-model has nothing.
    """
    if part is None:
        return decode(blob, spec, bases, expected)
    payload = decode(blob, part.spec(spec), bases, expected)
    return replace(payload, tensors=part.spread(payload.tensors, spec))


def _smaller(item: TensorSpec, stays: Mapping[int, np.ndarray]) -> TensorSpec:
    shape = list(item.shape)
    for axis, mask in stays.items():
        shape[axis] = int(np.count_nonzero(mask))
    return replace(item, shape=tuple(shape))


def _places(shape: tuple[int, ...], stays: Mapping[int, np.ndarray]) -> Any:
    """Index of what stays of an array."""
    if not stays:
        return ...
    every = [np.arange(size) for size in shape]
    return np.ix_(
        *(
            np.flatnonzero(stays[axis - len(shape)]) if axis - len(shape) in stays else each
            for axis, each in enumerate(every)
        )
    )
