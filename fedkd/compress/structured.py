"""Pruning of channels down to a share of a model's multiplications."""

from collections.abc import Iterator, Sequence

import keras
import numpy as np

from fedkd.base.errors import InputError
from fedkd.compress.channels import Channels, channels
from fedkd.compress.importance import MEASURES, Measure, Scores
from fedkd.compress.remove_channels import macs_without, remove_channels


def prune_channels(model: keras.Model, macs: float, measure: str | Measure = "l1", least: int = 4) -> keras.Model:
    """Return a smaller model: the least important channels are removed until its multiplications are few enough.

    Args:
        model: Functional or Sequential; not changed.
        macs: Share of the model's multiply-accumulates that may be left, in (0, 1).
        measure: Of importance: the name of one of ``MEASURES``, or one that takes examples, such as
            ``fedkd.compress.reconstruct.lasso(model, x)``.
        least: Channels that each layer keeps, at least 1.

    Returns:
        A model of the same inputs and outputs whose layers have fewer filters and units. It isn't trained further.

    Raises:
        InputError: An argument breaks its rule, nothing can be removed, or the model has more multiplications even with
            ``least`` channels a layer.
    """
    return remove_channels(model, least_important(model, macs, measure, least))


def least_important(model: keras.Model, macs: float, measure: str | Measure = "l1", least: int = 4) -> tuple[int, ...]:
    """Choose the channels that ``prune_channels`` removes, by their numbers; same arguments, same errors."""
    _check(macs, measure, least)
    found = channels(model)
    order, limit = _order(found, macs, measure, least)
    return order[: _fewest(found, order, limit)]


def in_turn(model: keras.Model, macs: float, measure: str | Measure = "l1", least: int = 4) -> tuple[int, ...]:
    """Order all channels that may go, the least important first; arguments and errors of ``prune_channels``."""
    _check(macs, measure, least)
    return _order(channels(model), macs, measure, least)[0]


def _check(macs: float, measure: str | Measure, least: int) -> None:
    if not 0 < macs < 1:
        raise InputError(f"macs must be in (0, 1) (share of the multiplications that is left), got {macs}")
    if isinstance(measure, str) and measure not in MEASURES:
        raise InputError(f"measure must be one of {', '.join(MEASURES)}, got {measure!r}")
    if least < 1:
        raise InputError(f"least must be at least 1 (channels a layer), got {least}")


def _order(found: Channels, macs: float, measure: str | Measure, least: int) -> tuple[tuple[int, ...], float]:
    """All channels that may go, the least important first, and how many multiplications may be left."""
    if not len(found.removable):
        raise InputError(
            "no channel of this model can be removed: its outputs or layers that aren't known need them all"
        )
    scores = (MEASURES[measure] if isinstance(measure, str) else measure)(found)
    order, limit = tuple(_in_turn(found, scores, least)), macs * macs_without(found, ())
    if (left := macs_without(found, order)) > limit:
        raise InputError(
            f"macs: {left:,} multiplications are left with the fewest channels allowed, more than {limit:,.0f};"
            " allow more of them, or fewer channels a layer"
        )
    return order, limit


def _in_turn(found: Channels, scores: Scores, least: int) -> Iterator[int]:
    """Channels from the least important on, but for those without which a layer would have too few."""
    members = [np.unique(ids, return_counts=True) for _, ids in found.produced()]
    left = [int(counts.sum()) for _, counts in members]
    for number in sorted(found.removable.tolist(), key=lambda i: (scores[i], i)):
        takes = [int(counts[numbers == number].sum()) for numbers, counts in members]
        if all(not take or have - take >= least for take, have in zip(takes, left, strict=True)):
            left = [have - take for take, have in zip(takes, left, strict=True)]
            yield number


def _fewest(found: Channels, order: Sequence[int], limit: float) -> int:
    """How many channels of an order have to go at least to stay within a limit of multiplications."""
    low, high = 0, len(order)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if macs_without(found, order[:middle]) <= limit else (middle, high)
    return high
