"""Blocks of a model that are alike, such as the layers of a transformer, found by what feeds what."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import keras

from fedkd.base.errors import InputError
from fedkd.models.graph import Node, graph_of

Signature = tuple[tuple[Any, ...], ...]


def blocks(model: keras.Model) -> tuple[str, ...]:
    """Find the blocks that repeat most often between calls through which all goes that a model makes of its input.

    Args:
        model: Functional, of one output, see ``fedkd.models.graph.functional``.

    Returns:
        Names of the calls between which they lie: of the one before the first block, and of each block's last.

    Raises:
        InputError: There aren't two blocks alike, the model's graph can't be seen, or it calls a layer twice.
    """
    if len(model.outputs) != 1:
        raise InputError(f"{model.name}: must have 1 output for its blocks to be found, got {len(model.outputs)}")
    path = _behind_weights(graph_of(model).nodes)
    ends = _passed_by_all(path)
    pieces = [_signature(path[i + 1 : j + 1]) for i, j in pairwise(ends)]
    # The most repetitions; of as many the shortest blocks, then the last: what comes once, comes before them.
    count, period, start = max(
        (
            (_repeats(pieces, start, period), -period, start)
            for start in range(len(pieces))
            for period in _periods(pieces)
        ),
        default=(0, 0, 0),
    )
    if count < 2:
        raise InputError(f"{model.name}: must have two blocks alike, one behind the other, got none")
    return tuple(path[ends[start - i * period]].name for i in range(count + 1))


def _periods(pieces: Sequence[Signature]) -> range:
    return range(1, len(pieces) // 2 + 1)


def _behind_weights(nodes: Sequence[Node]) -> list[Node]:
    """The first call of a layer with weights and all that is made of its output: not, say, what padding makes."""
    found: list[Node] = []
    names: set[str] = set()
    for node in nodes:
        begins = not names and bool(getattr(node.operation, "weights", ()))
        if begins or names & set(node.sources):
            found.append(node)
            names.add(node.name)
    return found


def _passed_by_all(path: Sequence[Node]) -> list[int]:
    """Places of the calls that no other call's output goes round."""
    place = {node.name: i for i, node in enumerate(path)}
    furthest, found = 0, list[int]()
    last = {node.name: 0 for node in path}
    for i, node in enumerate(path):
        for source in node.sources:
            if source in place:
                last[source] = i
    for i, node in enumerate(path):
        if furthest <= i:
            found.append(i)
        furthest = max(furthest, last[node.name])
    return found


def _signature(piece: Sequence[Node]) -> Signature:
    """Kinds of some calls, with what they read and give."""
    return tuple((node.kind, node.reads, node.shape) for node in piece)


def _repeats(pieces: Sequence[Signature], start: int, period: int) -> int:
    """How often so many pieces come one after the other."""
    first, count = pieces[start : start + period], 0
    while pieces[start + count * period : start + (count + 1) * period] == first and len(first) == period:
        count += 1
    return count
