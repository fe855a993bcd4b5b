"""Whether examples from two places are measured alike: pixels of 0 to 255 beside others of 0 to 1 show it."""

import numpy as np

from fedkd.base.errors import InputError

# A range so many times as wide as the other is of another unit: pixels differ by 255, g and m/s² by 9.8.
_FAR = 20.0
_ROWS = 1000  # examples, taken at even steps, that show a range


def check_alike(source: str, train: np.ndarray, test: np.ndarray) -> None:
    """Refuse splits that models would take for different things.

    Args:
        source: Where they come from, for messages.
        train: x of the training examples, as they were given.
        test: x of the test examples.

    Raises:
        InputError: One is of whole numbers and the other isn't, or their ranges are far apart.
    """
    if (train.dtype.kind == "f") != (test.dtype.kind == "f") or (train.dtype == np.uint8) != (test.dtype == np.uint8):
        raise InputError(
            f"{source}: x_train is {train.dtype} and x_test {test.dtype}; both must be of one kind, or each would be"
            " scaled by its own rule"
        )
    if train.dtype.kind == "f" and (why := far_apart(test, train)):
        raise InputError(f"{source}: x_test {why} x_train's; scale both alike")


def far_apart(x: np.ndarray, like: np.ndarray) -> str:
    """Say how many times as wide the range of examples is as that of others; empty where they are alike.

    >>> far_apart(np.full((4, 2, 1), 200.0), np.ones((4, 2, 1)))
    'has values about 200 times as large as'
    """
    if x.shape[1:] != like.shape[1:]:
        return ""
    return beyond(magnitudes(x), magnitudes(like))


def magnitudes(x: np.ndarray) -> np.ndarray:
    """Measure how large the numbers of examples (n, ...) are: what 98 % of those of some examples stay below.

    Returns:
        float64, one for each feature of rows of a table, else one for all; none for no examples.
    """
    if not x.size:
        return np.zeros(0)
    some = x[:: -(-len(x) // _ROWS)].astype(np.float64)
    return np.ravel(np.quantile(np.abs(some), 0.98, axis=0 if x.ndim == 2 else None))


def beyond(sizes: np.ndarray, like: np.ndarray) -> str:
    """Say how many times as large some magnitudes are as others; empty where they are alike.

    Of rows of a table the feature in the middle counts, as single ones may well shift from one split to the other.
    """
    if not sizes.size or not like.size:
        return ""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.nan_to_num(sizes / like, nan=1.0, posinf=1.0)
    ratios = ratios[ratios > 0]
    if not ratios.size:
        return ""
    middle = float(np.median(ratios))
    return "" if 1 / _FAR < middle < _FAR else f"has values about {middle:.3g} times as large as"
