"""How engines are measured: in turn, several times, each against the matrix products just before and after it."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from fedkd.base.errors import RunError
from fedkd.base.seeding import Purpose, generator
from fedkd.base.tensors import Weights
from fedkd.distill.batches import batches
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.resolve import experiment_of
from sims.bench import work
from sims.bench.machine import matmul_gflops
from sims.bench.report import Row


@dataclass(frozen=True)
class Measured:
    """One run of an engine.

    Args:
        seconds: Of each round but the first, which compiles.
        weights: It ended in.
        figures: What else was measured, by names for the table.
    """

    seconds: Sequence[float]
    weights: Weights
    figures: Mapping[str, float] = field(default_factory=dict)


class SkippedError(RunError):
    """An engine that can't do the work; the others go on."""


Engine = Callable[[Experiment], Measured]


class _Run(NamedTuple):
    """One run beside others: seconds of a round, the machine's rate just before and after, and what it ended in."""

    seconds: float
    rate: float
    measured: Measured


def make_experiment(name: str, clients: int, rounds: int) -> Experiment:
    """The work called ``name`` for a number of clients."""
    task = f"sims.bench.work:clients_{clients}"
    return experiment_of({**work.SETTINGS[name], "task": task, "clients": clients, "rounds": rounds})


def batch_order(experiment: Experiment, round_: int, client: int) -> np.ndarray:
    """Rows (batches, size) of a client's batches in a round, as the trainer draws them."""
    config, rng = experiment.config, generator(experiment.config.seed, Purpose.TRAINING, round_, client)
    return batches(len(experiment.client_data(client)[0]), config.train.batch_size, config.train.epochs, rng)[0]


def compare(
    name: str, experiment: Experiment, engines: Mapping[str, Engine], repeats: int, tolerance: float = 1e-4
) -> tuple[list[Row], list[float]]:
    """Run engines in turn, several times.

    Args:
        name: Name of the work.
        experiment: The work.
        engines: Engines by their names.
        repeats: Runs of each.
        tolerance: How far weights may be apart where engines end, where nothing is lost in compression.

    Returns:
        One row per engine, with medians over its runs, and all rates of matrix products in 10⁹ operations a second.

    Raises:
        RunError: Engines ended in weights that differ by more than the tolerance.
    """
    runs, failed, rates = _in_turn(experiment, engines, repeats)
    if experiment.config.exchange.up == "dense":
        check_equal({engine: taken[-1].measured.weights for engine, taken in runs.items()}, tolerance)
    clients = experiment.config.clients
    rows = [_row(name, clients, engine, taken) for engine, taken in runs.items() if engine not in failed]
    for row in rows:
        row[f"times_slower_than_{rows[0]['engine']}"] = row["seconds_per_round"] / rows[0]["seconds_per_round"]
    skipped = [{"engine": e, "work": name, "clients": clients, "skipped": why} for e, why in failed.items()]
    return [*rows, *skipped], rates


def _in_turn(
    experiment: Experiment, engines: Mapping[str, Engine], repeats: int
) -> tuple[dict[str, list[_Run]], dict[str, str], list[float]]:
    """Return the runs of each engine, why some failed, after which they are left out, and all rates of the machine."""
    runs: dict[str, list[_Run]] = {}
    failed: dict[str, str] = {}
    rates = []
    for engine, run in repeats * list(engines.items()):
        if engine in failed:
            continue
        rates.append(matmul_gflops())
        try:
            measured = run(experiment)
        except SkippedError as error:
            failed[engine] = str(error)
            continue
        rates.append(matmul_gflops())
        taken = _Run(statistics.median(measured.seconds), statistics.mean(rates[-2:]), measured)
        runs.setdefault(engine, []).append(taken)
    return runs, failed, rates


def check_equal(ends: Mapping[str, Weights], tolerance: float = 1e-4) -> None:
    """Check that all engines did the same work.

    Raises:
        RunError: The first engine whose weights differ by more from the first one's is named.
    """
    (first, expected), *others = ends.items()
    for engine, weights in others:
        apart = max(float(np.abs(a - b).max()) for a, b in zip(expected, weights, strict=True))
        if not apart <= tolerance:
            raise RunError(
                f"{engine} ended {apart:.1e} from {first}, at most {tolerance:g} is allowed: not the same work"
            )


def _row(name: str, clients: int, engine: str, runs: Sequence[_Run]) -> dict[str, Any]:
    taken = statistics.median(run.seconds for run in runs)
    gflop = clients * work.client_mflop(name) / 1e3
    return {
        "engine": engine,
        "work": name,
        "clients": clients,
        "seconds_per_round": taken,
        "client_updates_per_second": clients / taken,
        "of_floor": statistics.median(gflop / run.rate / run.seconds for run in runs),
        **{key: statistics.median(run.measured.figures[key] for run in runs) for key in runs[0].measured.figures},
    }
