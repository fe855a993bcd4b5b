"""All randomness of a run derives from (seed, purpose, round, partition): engines agree because nothing else counts."""

from enum import IntEnum, unique

import numpy as np


@unique
class Purpose(IntEnum):
    """What a random stream is for; equal numbers in two places would be equal streams."""

    MODEL = 1
    CALIBRATION = 2
    PARTITION = 3
    HOLDOUT = 4
    SAMPLING = 5
    TRAINING = 6
    ROUNDING = 7
    DIRECTIONS = 8
    EXAMPLES = 9
    PRETRAINING = 10
    SEARCH = 11
    GOLDEN = 12
    CLASSES = 13
    SKETCH = 14
    UNITS = 15
    ADAPTERS = 16
    NOISE = 17


def generator(seed: int, purpose: Purpose, *path: int) -> np.random.Generator:
    """Return the stream of one purpose, e.g. ``generator(seed, Purpose.TRAINING, round, partition_id)``."""
    return np.random.default_rng([seed, int(purpose), *path])


def integer(seed: int, purpose: Purpose, *path: int) -> int:
    """Return a 31-bit seed for libraries that want a number."""
    return int(generator(seed, purpose, *path).integers(2**31))
