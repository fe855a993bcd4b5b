"""Settings that a suite chooses for each of its variants, by what clients hold out: never by the test set.

Every variant that is tuned has as many trials as each other one. A trial is a run of a seed of its own; the one whose
shared model answers best on what clients hold out of their own examples decides what the variant's cells are run with.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import ceil, prod

from fedkd.base.errors import InputError
from fedkd.config.config import Scalar
from fedkd.objectives.metric import Scale
from fedkd.results.round import Round

_SEED: dict[str, Scalar] = {"seed": 1000}  # of trials that name none: another one than those of tables
_FIXED = ("method", "task", "data")
_SAME = ("clients", "partition.", "train.holdout")  # what decides on which examples trials are judged
_LAST = 0.25  # of the rounds in which clients measured: a single one swings by more than settings differ

Grid = Mapping[str, Sequence[Scalar]]


def check_alike(tuning: Sequence[tuple[str, Grid]], common: Mapping[str, Scalar]) -> None:
    """Check that all variants which are tuned have the same number of trials, no two of them the same.

    Args:
        tuning: Name of each variant and what it chooses from, nothing for one that isn't tuned.
        common: What the suite sets for trials, nothing where it says nothing.

    Raises:
        InputError: They haven't, or the suite sets for trials what isn't theirs to set, or has none.
    """
    counts = [(name, prod(map(len, grid.values()))) for name, grid in tuning if grid]
    if len({count for _, count in counts}) > 1:
        told = ", ".join(f"{name!r} {count}" for name, count in counts)
        raise InputError(f"tuning: each variant that is tuned must have the same number of trials, got {told}")
    if common and not counts:
        raise InputError("tuning is for the trials of variants, and none has a table variants.tuning of lists")
    for name, grid in tuning:
        for key, values in grid.items():
            if any(values.count(value) > 1 for value in values):
                raise InputError(f"variant {name!r}: tuning.{key} must have each value once, got {list(values)}")
            if key in common:
                raise InputError(f"tuning: {key} is what variant {name!r} is tuned over, so no trial is to set it")
    if fixed := [key for key in common if key in _FIXED or key.startswith(_SAME)]:
        raise InputError(f"tuning: trials must have the {fixed[0]} of the cells that they decide on")


def check_free(name: str, grid: Grid, set_: Mapping[str, Scalar]) -> None:
    """Check that trials are free to choose what they choose.

    Args:
        name: Of the variant.
        grid: What it chooses from.
        set_: What the variant and the grid set in one of its cells.

    Raises:
        InputError: It chooses what is set, or what must be the same for trials that are held against each other.
    """
    for key in grid:
        if key in set_:
            raise InputError(f"variant {name!r}: tuning can't choose {key}, which is set for its cells")
        if key in (*_FIXED, "seed") or key.startswith(_SAME):
            raise InputError(f"variant {name!r}: tuning can't choose {key}, which trials must have in common")


def trial_settings(
    grid: Grid, common: Mapping[str, Scalar], settings: Mapping[str, Scalar]
) -> Iterator[tuple[dict[str, Scalar], dict[str, Scalar]]]:
    """Yield what each trial chooses, and all its settings.

    Args:
        grid: What is chosen from; nothing for no trials.
        common: What the suite sets for all trials, over the cells' settings.
        settings: Of the cell that is tuned.
    """
    for values in product(*grid.values()) if grid else ():
        choice = dict(zip(grid, values, strict=True))
        yield choice, {**settings, **_SEED, **common, **choice}


def held_out(history: Sequence[Round], metric: Scale) -> float:
    """Return the quality of a run's model on what clients hold out: mean over their examples and its last rounds.

    Clients measure the shared model as a round begins, so the first round's is nobody's work. Of runs that share
    nothing the quality is their teachers'.

    Args:
        history: Its rounds.
        metric: By which it is judged.

    Raises:
        InputError: It wasn't measured.
    """
    for figure in ("shared_personal", "teacher_personal"):
        rounds = [mean for row in history if row.number > 1 and (mean := _mean(row, figure)) is not None]
        if rounds:
            last = rounds[-ceil(_LAST * len(rounds)) :]
            return sum(last) / len(last)
    rule = "train.holdout must be above 0, and a trial must have 2 rounds or more"
    raise InputError(f"no client measured {metric.label} of a trained model on what it holds out: {rule}")


def _mean(row: Round, figure: str) -> float | None:
    """Mean of a figure over the examples of the clients that have it."""
    known = zip(row.clients.get(figure, ()), row.clients.get("examples", ()), strict=False)
    pairs = [(value, weight) for value, weight in known if value is not None and weight]
    return sum(value * weight for value, weight in pairs) / sum(weight for _, weight in pairs) if pairs else None


def best(figures: Sequence[float], metric: Scale) -> int:
    """Return the place of the best figure, the first among equals."""
    sign = -1 if metric.better == "lower" else 1
    return max(range(len(figures)), key=lambda place: (sign * figures[place], -place))
