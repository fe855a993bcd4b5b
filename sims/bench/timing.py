"""How long something takes."""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


@contextmanager
def timed(seconds: list[float]) -> Iterator[None]:
    """Append the seconds that the block takes."""
    begun = time.perf_counter()
    yield
    seconds.append(time.perf_counter() - begun)


def median_seconds(call: Callable[[], object], repeats: int) -> float:
    """Call as many times; returns the median of the seconds."""
    seconds: list[float] = []
    for _ in range(repeats):
        with timed(seconds):
            call()
    return statistics.median(seconds)


def interleaved(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Call each as many times, by turns, so that what else a machine does falls on all; returns the medians."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            with timed(seconds[name]):
                call()
    return {name: statistics.median(found) for name, found in seconds.items()}
