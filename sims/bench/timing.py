"""How long something takes."""

import statistics
import time
from collections.abc import Callable, Iterator
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
