"""Classes of devices: clients that train another teacher, or none, or otherwise than the settings of all say."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fedkd.base.errors import InputError, require
from fedkd.base.seeding import Purpose, generator
from fedkd.config.sections import ENGINES, TrainConfig

SECTION = "classes"
NO_TEACHER = "none"
_ROUNDING = 1e-9  # of shares that are to sum to 1


@dataclass(frozen=True)
class DeviceClass:
    """A class of devices, the section ``classes.NAME``; what is empty or 0 is as for all others.

    ``share`` is how much of the clients that no class names it gets, ``clients`` are the numbers of those it gets,
    separated by spaces; without either only nodes that say so are of it. ``teacher`` is ``none`` for clients that train
    the student alone, or ``package.module:function``, which builds another teacher; ``teacher_width`` is the width of
    the built-in one. The rest is as in ``train``.
    """

    name: str
    share: float = 0.0
    clients: str = ""
    teacher: str = ""
    teacher_width: int = 0
    batch_size: int = 0
    epochs: int = 0
    engine: str = ""

    def __post_init__(self) -> None:
        """Check the rules."""
        check_name(self.name)
        require(0 <= self.share <= 1, self.key("share"), self.share, "in [0, 1] (of the clients no class names)")
        rule = "numbers of clients, separated by spaces"
        require(all(map(_is_number, self.clients.split())), self.key("clients"), self.clients, rule)
        one = not (self.share and self.clients)
        require(one, self.key("share"), self.share, f"0 where {self.key('clients')} names the clients")
        rule = f"{NO_TEACHER} (the student alone), package.module:function, or empty for that of all others"
        require(self.teacher in ("", NO_TEACHER) or ":" in self.teacher, self.key("teacher"), self.teacher, rule)
        require(self.teacher_width >= 0, self.key("teacher_width"), self.teacher_width, "0 (as all others) or more")
        one = not (self.teacher and self.teacher_width)
        rule = f"0 where {self.key('teacher')} says which teacher it is"
        require(one, self.key("teacher_width"), self.teacher_width, rule)
        require(self.batch_size >= 0, self.key("batch_size"), self.batch_size, "0 (as all others) or more")
        require(self.epochs >= 0, self.key("epochs"), self.epochs, "0 (as all others) or more")
        rule = f"{' or '.join(ENGINES)}, or empty for that of all others"
        require(self.engine in ("", *ENGINES), self.key("engine"), self.engine, rule)

    def key(self, item: str) -> str:
        """The dotted key of one of its settings."""
        return f"{SECTION}.{self.name}.{item}"

    @property
    def named(self) -> list[int]:
        """Numbers of the clients that it names."""
        return [int(word) for word in self.clients.split()]

    @property
    def teaches(self) -> bool:
        """Whether its clients train a teacher."""
        return self.teacher != NO_TEACHER

    def of(self, train: TrainConfig) -> TrainConfig:
        """Return how its clients train, of how all others do."""
        own: dict[str, Any] = {"batch_size": self.batch_size, "epochs": self.epochs, "engine": self.engine}
        return replace(train, **{key: value for key, value in own.items() if value})


def check_name(name: str) -> None:
    """Raise InputError where a class is called what no key, file or line of a table can hold."""
    require(name.isascii() and name.isidentifier(), SECTION, name, "names of letters, digits and _ (classes.NAME.KEY)")


def check_classes(classes: Sequence[DeviceClass], clients: int) -> None:
    """Check the rules between classes.

    Args:
        classes: All there are.
        clients: How many the federation has; 0 where that isn't known yet.

    Raises:
        InputError: Naming the key, the value and the rule.
    """
    total = sum(held.share for held in classes)
    require(total <= 1 + _ROUNDING, f"{SECTION}.*.share", round(total, 6), "1 at most in all")
    seen: dict[int, str] = {}
    for held in classes:
        for client in held.named:
            fits = not clients or client < clients
            require(fits, held.key("clients"), client, f"from 0 to {clients - 1}, the clients there are")
            if client in seen:
                raise InputError(f"{held.key('clients')} names client {client}, which {seen[client]} names already")
            seen[client] = held.key("clients")


def dealt(classes: Sequence[DeviceClass], clients: int, seed: int) -> dict[int, str]:
    """Deal clients to classes: those that a class names to it, of all others each class its share by lot.

    Args:
        classes: In an order that decides who gets whom.
        clients: How many there are, numbered from 0.
        seed: Of the run.

    Returns:
        The name of the class by the client, for those that are of any.
    """
    found = {client: held.name for held in classes for client in held.named}
    rest = np.array([client for client in range(clients) if client not in found], int)
    order = generator(seed, Purpose.CLASSES).permutation(rest)
    begins, share = 0, 0.0
    for held in classes:
        share += held.share
        ends = round(share * len(rest))  # of the sum, so that thirds leave nobody out
        found |= dict.fromkeys(order[begins:ends].tolist(), held.name)
        begins = ends
    return found


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdigit()
