"""How long to wait before asking a hub again: a little longer each time, never for long, and no two devices alike."""

import random
from collections.abc import Iterator

FIRST, LONGEST, RETRIES = 0.5, 4.0, 4


def pauses() -> Iterator[float]:
    """Seconds before each further attempt: drawn between half and all of .5, 1, 2 and 4.

    Random, lest devices that were refused together come back together. (AWS Architecture Blog, "Exponential backoff and
    jitter", 2015.)

    >>> all(0 < pause <= LONGEST for pause in pauses()), len(list(pauses()))
    (True, 4)
    """
    for retry in range(RETRIES):
        longest = min(LONGEST, FIRST * 2**retry)
        yield random.uniform(longest / 2, longest)
