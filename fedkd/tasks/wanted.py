"""What a task wants of a node's own examples, without the task's data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedkd.data.ranges import magnitudes
from fedkd.data.standardise import Standardisation
from fedkd.objectives.objective import Objective
from fedkd.objectives.record import of_record, to_record


@dataclass(frozen=True, eq=False)
class Wanted:
    """How examples must look to be trained on.

    Args:
        shape: Of one example.
        dtype: As models take it, float32 or int32.
        largest: Largest word id that the task's models know; 0 where inputs are no ids.
        magnitudes: See ``fedkd.data.ranges.magnitudes``, of the task's training examples; empty for ids.
        objective: Says what targets are.
        inputs: How rows of a table become what models take; None where examples are as they were measured.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    largest: int
    magnitudes: np.ndarray
    objective: Objective
    inputs: Standardisation | None

    @classmethod
    def of(
        cls,
        train: np.ndarray,
        test: np.ndarray,
        objective: Objective,
        inputs: Standardisation | None,
        words: int = 0,
    ) -> "Wanted":
        """Read it off a task's training and test examples, and how many words its models know where that is told."""
        ids = train.dtype.kind != "f"
        largest = (words - 1 if words else max(int(train.max()), int(test.max()))) if ids else 0
        sizes = np.zeros(0) if ids else magnitudes(train)
        return cls(train.shape[1:], train.dtype, largest, sizes, objective, inputs)

    def to_json(self) -> dict[str, Any]:
        """The table for a file.

        Raises:
            InputError: See ``fedkd.objectives.record.to_record``.
        """
        inputs = None if self.inputs is None else {"mean": self.inputs.mean, "scale": self.inputs.scale}
        return {
            "shape": list(self.shape),
            "dtype": self.dtype.name,
            "largest": self.largest,
            "magnitudes": self.magnitudes.tolist(),
            "objective": to_record(self.objective),
            "inputs": inputs,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Wanted":
        """Undo ``to_json``."""
        given = data["inputs"]
        inputs = None if given is None else Standardisation(tuple(given["mean"]), tuple(given["scale"]))
        sizes = np.asarray(data["magnitudes"], np.float64)
        objective = of_record(data["objective"])
        return cls(tuple(data["shape"]), np.dtype(data["dtype"]), data["largest"], sizes, objective, inputs)
