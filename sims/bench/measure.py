"""How engines are measured: in turn, several times, each against the matrix products just before and after it."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedkd.config import Scalar
from fedkd.distill.trainer import batches
from fedkd.errors import RunError
from fedkd.experiment import Experiment, experiment_of
from fedkd.seeding import Purpose, generator
from fedkd.tensors import Weights
from sims.bench import work
from sims.bench.machine import matmul_gflops
from sims.bench.report import Row


@dataclass(frozen=True)
class Measured:
    """One run of an engine: seconds of each round but the first, which compiles, and the weights it ended in."""

    seconds: Sequence[float]
    weights: Weights


class SkippedError(RunError):
    """An engine that can't do the work; the others go on."""


Engine = Callable[[Experiment], Measured]


def experiment(name: str, clients: int, rounds: int, **more: Scalar) -> Experiment:
    """The work called ``name`` for a number of clients."""
    settings = {**work.SETTINGS[name], "task": f"sims.bench.work:clients_{clients}", "clients": clients, **more}
    return experiment_of({**settings, "rounds": rounds})


def batch_order(held: Experiment, round_: int, client: int) -> np.ndarray:
    """Rows (5, 32) of a client's batches in a round, as the trainer draws them."""
    rng = generator(held.config.seed, Purpose.TRAINING, round_, client)
    return batches(work.EXAMPLES, work.BATCH, 1, rng)[0]


def compare(name: str, held: Experiment, engines: Mapping[str, Engine], repeats: int) -> tuple[list[Row], list[float]]:
    """Run engines in turn, several times.

    Args:
        name: Of the work.
        held: The work.
        engines: By name.
        repeats: Runs of each.

    Returns:
        A row an engine, with medians over its runs, and all rates of matrix products in 10⁹ operations a second.

    Raises:
        RunError: Engines ended in weights that differ by more than 1e-4, where nothing is lost in compression.
    """
    clients = held.config.clients
    seconds: dict[str, list[float]] = {engine: [] for engine in engines}
    shares: dict[str, list[float]] = {engine: [] for engine in engines}
    failed: dict[str, str] = {}
    ends: dict[str, Weights] = {}
    rates = []
    for _ in range(repeats):
        for engine, run in engines.items():
            if engine in failed:
                continue
            rates.append(matmul_gflops())
            try:
                measured = run(held)
            except SkippedError as error:
                failed[engine] = str(error)
                continue
            rates.append(matmul_gflops())
            taken = statistics.median(measured.seconds)
            seconds[engine].append(taken)
            shares[engine].append(clients * work.client_mflop(name) / 1e3 / statistics.mean(rates[-2:]) / taken)
            ends[engine] = measured.weights
    if not held.config.exchange.svd_up:
        check_equal(ends)
    rows = [_row(name, clients, e, seconds[e], shares[e]) for e in engines if e not in failed]
    fastest = rows[0]["client_updates_per_second"] if rows else 0.0
    for row in rows:
        row[f"times_slower_than_{rows[0]['engine']}"] = fastest / row["client_updates_per_second"]
    skipped = [{"engine": e, "work": name, "clients": clients, "skipped": why} for e, why in failed.items()]
    return [*rows, *skipped], rates


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


def _row(name: str, clients: int, engine: str, seconds: Sequence[float], shares: Sequence[float]) -> dict[str, Any]:
    taken = statistics.median(seconds)
    return {
        "engine": engine,
        "work": name,
        "clients": clients,
        "seconds_per_round": taken,
        "client_updates_per_second": clients / taken,
        "of_floor": statistics.median(shares),
    }
