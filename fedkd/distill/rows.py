"""Tables of words, of which a client trains those rows alone that its texts have.

The others have a slope of 0; where their moments are 0, too, a step of Adam leaves all of them as they are. So a round
on the rows that a client's texts have, and on those that its texts of former rounds had, ends in the same bits as one
on the whole table, and costs what they cost.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from fedkd.base.tensors import State, Weights, empty, zeros
from fedkd.distill.adam import Adam
from fedkd.distill.learner import Learner

# Tables of fewer numbers aren't worth it.
_LARGE = 1 << 20


class Table(NamedTuple):
    """Where a client's state has a table and its moments: the group of each, and its place there."""

    role: str
    weight: int
    moments: tuple[int, int]

    @property
    def places(self) -> Iterator[tuple[str, int]]:
        """Of the table and of its moments."""
        yield self.role, self.weight
        yield from ((f"{self.role}.moments", moment) for moment in self.moments)


class Taken(NamedTuple):
    """The rows of a table that are trained, ascending (r,), and where each of its rows (n,) is among them."""

    table: Table
    rows: np.ndarray
    where: np.ndarray


def tables(learners: Mapping[str, Learner], optimizers: Mapping[str, object]) -> list[Table]:
    """Tables of words whose rows can be trained alone: those of models with one, which plain Adam trains.

    Args:
        learners: By role.
        optimizers: Of those that are trained.
    """
    found = []
    for role, learner in learners.items():
        optimizer = optimizers.get(role)
        if isinstance(optimizer, Adam) and len(learner.tables) == 1:
            (weight,) = learner.tables.values()
            found.append(Table(role, weight, optimizer.moments_of(learner.place(weight))))
    return found


def taken(state: State, tables: Sequence[Table], ids: Sequence[np.ndarray]) -> list[Taken]:
    """Choose the rows of each table that a round can change.

    Args:
        state: A client's.
        tables: In it, of which small ones are left out, and those of which most rows are trained.
        ids: All ids in its texts.
    """
    met = np.unique(np.concatenate([np.unique(each) for each in ids])) if tables else np.zeros(0, int)
    found = []
    for table in tables:
        array, moments = state[table.role][table.weight], state[f"{table.role}.moments"]
        rows, among = len(array), met[(met >= 0) & (met < len(array))]
        moved = np.zeros(rows, bool)
        moved[among] = True
        for moment in table.moments:
            moved |= np.ascontiguousarray(moments[moment]).view(np.uint32).any(axis=1)  # a zero may have a sign
        if array.size >= _LARGE and 2 * moved.sum() <= rows:
            chosen = np.flatnonzero(moved)
            where = np.full(rows, rows, np.int32)  # no row: an id that isn't in the texts is refused
            where[chosen] = np.arange(len(chosen))
            found.append(Taken(table, chosen, where))
    return found


def reduced(state: State, chosen: Sequence[Taken]) -> State:
    """Return a state with the rows alone that are trained, and where a table's rows are in ``ROLE.where``."""
    small = {group: list(arrays) for group, arrays in state.items()}
    for each in chosen:
        for group, place in each.table.places:
            table = state[group][place]
            rows = empty((len(each.rows), *table.shape[1:]), table.dtype)
            small[group][place] = np.take(table, each.rows, axis=0, out=rows, mode="clip")  # or it would make a copy
        small[f"{each.table.role}.where"] = [each.where]
    return small


def restored(small: State, state: State, chosen: Sequence[Taken]) -> State:
    """Put rows that were trained into the tables of the state before, which isn't changed."""
    whole = {group: list(arrays) for group, arrays in small.items() if not group.endswith(".where")}
    for each in chosen:
        for number, (group, place) in enumerate(each.table.places):
            before = state[group][place]
            array = zeros(before.shape, before.dtype) if number else before.copy()  # moments of other rows are 0
            array[each.rows] = small[group][place]
            whole[group][place] = array
    return whole


def varying(small: Mapping[str, Weights], chosen: Sequence[Taken]) -> set[int]:
    """Identities of the arrays of a reduced state that have other rows from client to client."""
    return {id(small[group][place]) for each in chosen for group, place in each.table.places}
