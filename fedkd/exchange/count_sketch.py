"""Count sketches: a long vector as a small table that is linear in it, and in which its large entries can be found.

Charikar, Chen & Farach-Colton, ICALP 2002. Each row of the table deals all entries to its columns, with a sign, by a
hash of their places; an entry is read as the median over the rows of what lies in its column, with its sign.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

# Entries that are hashed at a time: the numbers for them then stay in a processor's cache.
_BLOCK = 2**15
# Of the generator splitmix64 (Steele, Lea & Flood, OOPSLA 2014), a bijection of 64 bits that mixes well.
_GAP, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True)
class CountSketch:
    """Which column and which sign each entry has in each row.

    The hash is of whole numbers alone, so that all machines agree on it.

    Args:
        keys: uint64 (rows,), tell the rows' hashes from each other.
        columns: Of the table, at least 1.
    """

    keys: np.ndarray
    columns: int

    @property
    def shape(self) -> tuple[int, int]:
        """Of the table."""
        return len(self.keys), self.columns

    def table(self, vector: np.ndarray) -> np.ndarray:
        """Return the sketch of a vector, float32 (rows, columns).

        Entries are divided by √rows, so that the mean over all hashes of the table's squared L2 norm is the vector's.

        Args:
            vector: (n,), finite.
        """
        table = np.zeros(self.shape)
        for first, columns, signs in self._places(len(vector)):
            for row in range(len(self.keys)):
                np.add.at(table[row], columns[row], signs[row] * vector[first : first + _BLOCK].astype(np.float64))
        return (table / np.sqrt(len(self.keys))).astype(np.float32)

    def estimates(self, table: np.ndarray, length: int) -> np.ndarray:
        """Return what a table says of each entry of the vector it was made of, float32 (length,).

        What a single row says is the entry in the mean over all hashes.
        """
        found = np.empty(length, np.float32)
        scale = np.sqrt(len(self.keys))
        for first, columns, signs in self._places(length):
            said = np.take_along_axis(table.astype(np.float64), columns, axis=1) * signs
            found[first : first + _BLOCK] = np.median(said, axis=0) * scale
        return found

    def _places(self, length: int) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """For each block of entries its first one, and by rows the entries' columns and signs."""
        for first in range(0, length, _BLOCK):
            entries = np.arange(first, min(first + _BLOCK, length), dtype=np.uint64)
            hashed = _mixed(entries[None] * _GAP + self.keys[:, None])
            high = hashed >> np.uint64(32)
            columns = (high * np.uint64(self.columns) >> np.uint64(32)).astype(np.intp)
            yield first, columns, 1.0 - 2.0 * (hashed & np.uint64(1)).astype(np.float64)


def _mixed(numbers: np.ndarray) -> np.ndarray:
    numbers = (numbers ^ (numbers >> np.uint64(30))) * _FIRST
    numbers = (numbers ^ (numbers >> np.uint64(27))) * _SECOND
    return numbers ^ (numbers >> np.uint64(31))
