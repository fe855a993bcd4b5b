"""Who holds what: ``partition.json``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedkd.base.errors import InputError


@dataclass(frozen=True)
class Partition:
    """Who holds what.

    Args:
        classes: Names of the classes.
        counts: Examples of class c at client i, as ``counts[i][c]``.
    """

    classes: Sequence[str]
    counts: Sequence[Sequence[int]]

    def to_json(self) -> dict[str, Any]:
        """The file's object."""
        return {"classes": list(self.classes), "counts": [list(row) for row in self.counts]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any], where: str = "partition.json") -> "Partition":
        """Undo ``to_json``.

        Raises:
            InputError: It doesn't hold one count for each class at each client.
        """
        try:
            classes = tuple(str(name) for name in data["classes"])
            counts = tuple(tuple(int(count) for count in client) for client in data["counts"])
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{where}: must hold classes and counts, a row of numbers a client") from error
        for client, row in enumerate(counts):
            if len(row) != len(classes):
                raise InputError(
                    f"{where}: client {client} must have {len(classes)} counts, a class each, got {len(row)}"
                )
        return cls(classes, counts)
