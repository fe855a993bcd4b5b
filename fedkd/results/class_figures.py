"""What is known of a class of devices: in the lines of ``history.jsonl``, and in ``summary.json``."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from fedkd.results.json_fields import numbers, table

KEY = "by_class"


@dataclass(frozen=True)
class ClassFigures:
    """Figures of the clients of a class, means over them; None for what wasn't measured.

    Args:
        clients: How many there are.
        teacher_mean: Quality of their teachers by the deciding metric; None, too, where they train none.
        teacher_personal: The same on what they have held out of their own examples.
        shared_personal: The shared model on those.
        seconds: How long one worked on its answer in a round.
    """

    clients: int = 0
    teacher_mean: float | None = None
    teacher_personal: float | None = None
    shared_personal: float | None = None
    seconds: float | None = None


# By the names of classes; clients of no class are under the empty one.
ByClass = Mapping[str, ClassFigures]


def to_json(held: ByClass) -> dict[str, Any]:
    """As a key of an object that has it only where there are classes."""
    return {KEY: {name: asdict(figures) for name, figures in held.items()}} if held else {}


def from_json(row: Mapping[str, Any], where: str) -> dict[str, ClassFigures]:
    """Undo ``to_json``.

    Args:
        row: The object; it may lack the key.
        where: Its place, for messages.

    Raises:
        InputError: Of a figure that is no number.
    """
    tables, found = table(row, KEY, where), {}
    for name in tables:
        held = table(tables, name, where)
        known = numbers({item.name: held.get(item.name) for item in fields(ClassFigures)}, where)
        found[name] = ClassFigures(**known | {"clients": int(known["clients"] or 0)})
    return found


def over_rounds(last: ByClass, rounds: Sequence[ByClass]) -> dict[str, ClassFigures]:
    """Return figures of a run: those of a round, but for the seconds, which are the mean of all rounds.

    Args:
        last: Of the round whose quality counts.
        rounds: Of all rounds.
    """
    found = {}
    for name, figures in last.items():
        seconds = [held[name].seconds for held in rounds if name in held]
        known = [value for value in seconds if value is not None]
        found[name] = replace(figures, seconds=sum(known) / len(known) if known else None)
    return found
