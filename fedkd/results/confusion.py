"""Which classes a model takes for which: ``confusion.json``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedkd.base.errors import InputError
from fedkd.results.json_fields import required
from fedkd.results.shape import amount, every, text


@dataclass(frozen=True)
class Confusion:
    """Answers of the model that ships over the test set.

    Args:
        classes: Their names.
        counts: Examples of class i that were taken for class j, as ``counts[i][j]``.
    """

    classes: Sequence[str]
    counts: Sequence[Sequence[int]]

    def to_json(self) -> dict[str, Any]:
        """The file's object."""
        return {"classes": list(self.classes), "counts": [list(row) for row in self.counts]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: str = "confusion.json") -> "Confusion":
        """Undo ``to_json``.

        Raises:
            InputError: It doesn't hold a count for each pair of classes.
        """
        classes = required(data, "classes", where, "a confusion matrix")
        counts = required(data, "counts", where, "a confusion matrix")
        every(text)(classes, f"{where}: classes")
        every(every(amount))(counts, f"{where}: counts")
        if any(len(row) != len(classes) for row in (counts, *counts)):
            raise InputError(f"{where}: counts must be {len(classes)} rows of {len(classes)} numbers, a class each")
        return cls(tuple(classes), tuple(map(tuple, counts)))
