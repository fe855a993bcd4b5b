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

    Ranges are those of 98 % of the numbers of some examples; of rows of a table, of the feature in the middle, as
    single ones may well shift from one split to the other.

    >>> far_apart(np.full((4, 2, 1), 200.0), np.ones((4, 2, 1)))
    'has values about 200 times as large as'
    """
    if not x.size or not like.size or x.shape[1:] != like.shape[1:]:
        return ""
    axes = 0 if x.ndim == 2 else None
    some = (array[:: -(-len(array) // _ROWS)].astype(np.float64) for array in (x, like))
    wide, other = (np.quantile(np.abs(rows), 0.98, axis=axes) for rows in some)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.nan_to_num(np.ravel(wide / other), nan=1.0, posinf=1.0)
    ratios = ratios[ratios > 0]
    if not ratios.size:
        return ""
    middle = float(np.median(ratios))
    return "" if 1 / _FAR < middle < _FAR else f"has values about {middle:.3g} times as large as"
