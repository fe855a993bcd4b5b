"""What all clients of a simulation keep between rounds, in one sparse file: who never trained takes no room.

Records are read and written in place, without a map of the file: as fast, and what was touched isn't counted as this
process's memory. A file a client (``clients.vault``) is safer and costs five times as much.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from fedkd.protocol import ClientState
from fedkd.tensors import Weights

_BASE = "base"
_PAGE = 4096
_MOST_BUFFERS = 512  # a call; systems allow 1 024


class PooledVault:
    """One client's record in the file of all.

    Args:
        path: The file; made with its folder on the first save.
        run: What run the state belongs to; the state of another one counts as none.
        partition: Which record.
        like: A state with arrays of the same shapes and dtypes, which all clients of a run share.
    """

    def __init__(self, path: Path, run: str, partition: int, like: ClientState) -> None:
        self.path, self._like = path, {_BASE: like.base, **like.local}
        self._run = hashlib.sha256(run.encode()).digest()
        size = _PAGE + sum(array.nbytes for arrays in self._like.values() for array in arrays)
        self._start = partition * (-(-size // _PAGE) * _PAGE)

    def load(self) -> ClientState | None:
        """Return the state saved last, or None where there is none, or only part of one."""
        try:
            file = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            header = os.pread(file, 8 + len(self._run), self._start)
            if header[8:] != self._run:
                return None
            groups = {g: [np.empty(a.shape, a.dtype) for a in arrays] for g, arrays in self._like.items()}
            for buffers, offset in self._chunks(groups):
                if os.preadv(file, buffers, offset) != sum(b.nbytes for b in buffers):
                    return None
            return ClientState(int.from_bytes(header[:8], "little"), groups.pop(_BASE), groups)
        finally:
            os.close(file)

    def save(self, state: ClientState) -> None:
        """Write the record; one that a crash left half-written counts as none."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        groups = {_BASE: state.base, **state.local}
        if _shapes(groups) != _shapes(self._like):
            raise ValueError(f"{self.path}: the state's arrays have other shapes than those of this run")
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.pwrite(file, bytes(8 + len(self._run)), self._start)
            for buffers, offset in self._chunks(groups):
                if os.pwritev(file, buffers, offset) != (size := sum(b.nbytes for b in buffers)):
                    raise OSError(f"{self.path}: {size} bytes could not be written in one go; is the disk full?")
            os.pwrite(file, state.round.to_bytes(8, "little") + self._run, self._start)
        finally:
            os.close(file)

    def _chunks(self, groups: Mapping[str, Weights]) -> Iterator[tuple[list[memoryview], int]]:
        """Arrays in order, some hundred at a time, and where in the file each lot begins."""
        arrays = [np.ascontiguousarray(a) for group in self._like for a in groups[group] if a.size]
        offset = self._start + _PAGE
        for first in range(0, len(arrays), _MOST_BUFFERS):
            lot = arrays[first : first + _MOST_BUFFERS]
            yield [a.data for a in lot], offset
            offset += sum(a.nbytes for a in lot)


def _shapes(groups: Mapping[str, Weights]) -> dict[str, list[tuple[tuple[int, ...], np.dtype]]]:
    return {group: [(a.shape, a.dtype) for a in arrays] for group, arrays in groups.items()}
