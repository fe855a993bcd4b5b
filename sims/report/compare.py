"""Runs side by side: the settings in which they differ, and what they reached; seeds are pooled."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import takewhile
from pathlib import Path

from fedkd.base.errors import InputError
from fedkd.base.versions import changed
from fedkd.config.config import Config, Scalar
from fedkd.config.settings import to_settings
from fedkd.objectives.metric import ACCURACY, NONE, Scale
from fedkd.results.run_folder import read
from fedkd.results.run_record import RunRecord
from fedkd.results.task_record import task_titles
from sims.report.table import MB, spread, total_bytes

# Settings that say how a run used its machine rather than what it is, and what pools are over.
_NOT_COMPARED = ("threads", "seed")
_SEED, _TASK = "seed", "task"


@dataclass(frozen=True)
class Pool:
    """Runs that differ in their seeds alone, or one run.

    Args:
        name: What it is called.
        runs: As they lie on the disk, each of another seed.
    """

    name: str
    runs: tuple[RunRecord, ...]

    @property
    def finished(self) -> bool:
        """Whether its runs are; of several all are."""
        return self.runs[0].summary is not None

    @property
    def task(self) -> str:
        """Its task, as its user wrote it."""
        return self.runs[0].task_key

    @property
    def seeds(self) -> tuple[str, ...]:
        """Of its runs."""
        return tuple(_text(run.settings.get(_SEED)) for run in self.runs)

    def values(self, figure: Callable[[RunRecord], float | None]) -> list[float]:
        """A figure of each run, where it is known."""
        return [value for run in self.runs if (value := figure(run)) is not None]


@dataclass(frozen=True)
class Comparison:
    """Runs, pooled over seeds.

    Args:
        pools: At least one.
        numbers: By which tables name them, from 1.
    """

    pools: tuple[Pool, ...]
    numbers: tuple[int, ...]

    @cached_property
    def tasks(self) -> dict[str, str]:
        """What the tasks are called, by what their users wrote."""
        return task_titles(pool.task for pool in self.pools)

    @property
    def metrics(self) -> tuple[Scale, ...]:
        """Of the first of its pools, and so of all where they have the same."""
        return tuple(self.pools[0].runs[0].metrics)

    @property
    def parts(self) -> "list[Comparison]":
        """Those of its pools whose figures are by the same metrics, and so fit into one table."""
        found: dict[tuple[str, ...], list[tuple[Pool, int]]] = {}
        for pool, number in zip(self.pools, self.numbers, strict=True):
            found.setdefault(tuple(metric.name for metric in pool.runs[0].metrics), []).append((pool, number))
        return [Comparison(*zip(*pairs, strict=True)) for pairs in found.values()]


def comparison(folders: Sequence[Path]) -> Comparison:
    """Read the runs and pool those that differ in their seeds alone.

    Raises:
        InputError: Fewer than two, or one that is no run or doesn't parse.
    """
    if len(folders) < 2:
        raise InputError(f"compare takes two runs or more, got {len(folders)}")
    short = [folder.resolve().name for folder in folders]
    names = short if len(set(short)) == len(short) else [str(folder) for folder in folders]
    pools: list[list[tuple[str, RunRecord]]] = []
    for name, run in zip(names, map(read, folders), strict=True):
        pool = next((pool for pool in pools if _alike([held for _, held in pool], run)), None)
        if pool is None:
            pools.append(pool := [])
        pool.append((name, run))
    found = tuple(Pool(_common([name for name, _ in pool]), tuple(run for _, run in pool)) for pool in pools)
    return Comparison(found, tuple(range(1, len(found) + 1)))


def _alike(pool: Sequence[RunRecord], run: RunRecord) -> bool:
    """Whether a run is one more seed of a pool: it and they have finished, and no other of them has its seed."""
    seed = run.settings.get(_SEED)
    if seed is None or run.summary is None or pool[0].summary is None:
        return False
    return _compared(pool[0]) == _compared(run) and all(held.settings.get(_SEED) != seed for held in pool)


def _compared(run: RunRecord) -> dict[str, Scalar]:
    return {key: value for key, value in _settings(run).items() if key not in _NOT_COMPARED}


def _settings(run: RunRecord) -> dict[str, Scalar]:
    """The run's settings, also those that its fedkd didn't know: these were as they are where nothing is asked for."""
    return to_settings(Config()) | run.settings if run.settings else {}


def _common(names: Sequence[str]) -> str:
    """What names of runs begin with, but for the seed: ``a-seed0`` and ``a-seed1`` are ``a``."""
    if len(names) == 1:
        return names[0]
    letters = takewhile(lambda alike: len(set(alike)) == 1, zip(*names, strict=False))
    common = "".join(letter for letter, *_ in letters).rstrip("-_. =")
    return common.removesuffix("seed").rstrip("-_. =") or names[0]


def differences(held: Comparison) -> list[tuple[str, ...]]:
    """Rows of the settings in which pools differ: the key, then its value in each of them."""
    settings = [_settings(pool.runs[0]) for pool in held.pools]
    keys = dict.fromkeys(key for given in settings for key in given if key not in _NOT_COMPARED)
    rows = []
    for key in keys:
        values = [_text(given.get(key)) for given in settings]
        if key == _TASK:
            values = [held.tasks[pool.task] for pool in held.pools]
        if len(set(values)) > 1:
            rows.append((key, *values))
    return rows


def notices(held: Comparison) -> Iterator[str]:
    """What a reader must know before comparing the figures."""
    if len(held.tasks) > 1:
        what = "accuracies" if {pool.runs[0].metric.name for pool in held.pools} == {ACCURACY.name} else "figures"
        yield f"These runs are of different tasks ({', '.join(held.tasks.values())}): their {what} don't compare."
    for pool in held.pools:
        if not pool.finished:
            yield f"{pool.name} isn't finished, rounds {_rounds(pool)}; its figures are the last it measured."
        if not pool.runs[0].ships:
            yield f"{pool.name} shares no whole model: its figures are the mean of the clients' own."
        if found := _other_versions(pool):
            yield f"{pool.name}: its seeds ran with other versions: {'; '.join(found)}."


def _other_versions(pool: Pool) -> list[str]:
    """Packages that computed some of a pool's runs in another version than the first."""
    first, *rest = (run.summary.versions if run.summary else {} for run in pool.runs)
    return list(dict.fromkeys(said for versions in rest for said in changed(first, versions)))


def figures(held: Comparison) -> list[tuple[str, ...]]:
    """A table of runs whose figures are by the same metrics.

    Args:
        held: One of the ``parts`` of a comparison.

    Returns:
        Headings, then a row a pool, mean ± sample standard deviation over seeds; what nobody has is left out. An arrow
        says that lower is better.
    """
    headings = (
        *(metric.with_unit(metric.label) + ("" if metric.better == "higher" else " ↓") for metric in held.metrics),
        held.metrics[0].with_unit("teachers"),
        *("MB a client", "times less", "rounds", "seconds", "seeds"),
    )
    rows = [headings, *(_figures(pool, held.metrics) for pool in held.pools)]
    columns = [column for column in zip(*rows, strict=True) if set(column[1:]) != {NONE}]
    return list(zip(*columns, strict=True))


def _figures(pool: Pool, metrics: Sequence[Scale]) -> tuple[str, ...]:
    def sent(run: RunRecord) -> float | None:
        return total_bytes(run.traffic)

    return (
        *(_spread(metric, [run.shared_figure(metric) for run in pool.runs]) for metric in metrics),
        _spread(metrics[0], [run.quality.teacher_mean for run in pool.runs]),
        spread(pool.values(sent), 1 / MB),
        spread(pool.values(lambda run: run.traffic.get("reduction_vs_teacher"))),
        _rounds(pool),
        spread(pool.values(lambda run: run.summary.speed.get("seconds") if run.summary else None), decimals=0),
        str(len(pool.runs)),
    )


def _spread(metric: Scale, values: Sequence[float | None]) -> str:
    """Mean and deviation as they are shown: with two decimals of shares."""
    return spread([value for value in values if value is not None], metric.factor, 2 if metric.unit == "%" else None)


def _text(value: object) -> str:
    return NONE if value in (None, "") else str(value).lower() if isinstance(value, bool) else str(value)


def _rounds(pool: Pool) -> str:
    """Rounds of finished runs; of how many, where one was stopped or still goes on."""
    run = pool.runs[0]
    if not run.history:
        return "0"
    last = run.history[-1]
    return str(last.number) if run.summary else f"{last.number} of {last.rounds}"
