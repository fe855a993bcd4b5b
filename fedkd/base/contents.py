"""What arrays and files hold, as hashes: two with one hash are the same, wherever they lie."""

import hashlib
import json
from pathlib import Path

import numpy as np

from fedkd.base.errors import InputError

_BLOCK = 1 << 24  # bytes that are copied at a time, where an array doesn't lie in one piece


def hash_array(array: np.ndarray) -> str:
    """SHA-256 (64 hex digits) of an array's dtype, shape and values, the same on every machine.

    Args:
        array: Of any shape and dtype; objects, such as texts, count by how they are written.
    """
    if array.dtype == object:
        return hashlib.sha256(repr((array.shape, array.tolist())).encode()).hexdigest()
    dtype = array.dtype.newbyteorder("<")
    sha = hashlib.sha256(repr((dtype.str, array.shape)).encode())
    rows = np.atleast_1d(array)
    step = max(1, _BLOCK // max(1, rows[:1].nbytes))
    for first in range(0, len(rows), step):
        sha.update(rows[first : first + step].astype(dtype, copy=False).tobytes())
    return sha.hexdigest()


def hash_file(path: Path) -> str:
    """SHA-256 (64 hex digits) of a file.

    Raises:
        InputError: It can't be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from None


def hash_record(record: object) -> str:
    """SHA-256 (64 hex digits) of something that JSON can say, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()
