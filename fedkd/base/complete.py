"""Tables whose keys are listed elsewhere, where more than one part of the project needs them."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

T = TypeVar("T")


def complete(names: Sequence[str], table: Mapping[str, T]) -> Mapping[str, T]:
    """Return a table in the order of its names.

    Raises:
        ValueError: A name has no entry, or an entry has no name.
    """
    if odd := sorted(set(names) ^ set(table)):
        raise ValueError(f"the table must have one entry for each of {', '.join(names)}; not so for {', '.join(odd)}")
    return {name: table[name] for name in names}
