"""What the clients of a simulation keep between rounds, all of a kind in one sparse file: untrained ones take no room.

Records are read and written in place, without a map of the file: as fast, and what was touched isn't counted as this
process's memory. A folder for each client (``clients.node.state_folder``) is safer and costs five times as much. Like
there, the states of two rounds are kept, so that a simulation whose process died goes on from the last whole round.

Of large tables a record holds the rows that have moved (``clients.node.moved_rows``); what it doesn't need of its place
in the file takes no room on disk.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from clients.node.moved_rows import moved, room, whole
from fedkd.base.checkpoint_store import beside, best_first
from fedkd.base.errors import RunError
from fedkd.base.tensors import Weights
from fedkd.protocol.state import ClientState

_BASE = "base"
_PAGE = 4096
_MOST_BUFFERS = 512  # a call; systems allow 1 024
_ROUND = 8  # bytes of a slot's header; the digest of the run follows, then a count of rows for each array
_LAYOUT = "rows"  # of a record


def pooled_path(pool: Path, stage: str, kind: str) -> Path:
    """The file of all clients whose states have arrays of the same shapes.

    Args:
        pool: Of most clients, in the stage without a name.
        stage: Of the run, see ``fedkd.protocol.stages``.
        kind: Of clients; empty for most.
    """
    # A class of devices may be called "finishing", and a number stands for clients with a teacher of the task's.
    suffix = f"{'.' if kind.isdigit() else '-'}{kind}" if kind else ""
    return Path(f"{pool}{'.' if stage else ''}{stage}{suffix}")


class StateFile:
    """One client's record in the file of all: two slots, each with a header that is written last.

    Args:
        path: The file; made with its folder on the first save.
        run: What run the states belong to; those of another one count as none.
        partition: Which record.
        like: A state with arrays of the same shapes and dtypes, which all clients of the file share.
    """

    def __init__(self, path: Path, run: str, partition: int, like: ClientState) -> None:
        self.path, self._like = path, {_BASE: like.base, **like.local}
        self._run, self._older = (hashlib.sha256(text.encode()).digest() for text in (f"{_LAYOUT}:{run}", run))
        self._arrays = [array for arrays in self._like.values() for array in arrays]
        self._begin = _up(_ROUND + len(self._run) + 4 * len(self._arrays))
        slot = self._begin + _up(sum(array.nbytes for array in self._arrays))
        self._slots = (2 * partition * slot, (2 * partition + 1) * slot)

    def load(self, before: int | None = None) -> ClientState | None:
        """Return the newest state, or the best to begin the round ``before`` from.

        None where there is none, or only part of one.
        """
        try:
            file = os.open(self.path, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            slots = {found: slot for slot in self._slots if (found := self._round(file, slot))}
            rounds = best_first(sorted(slots), before)
            if not rounds:
                return None
            groups = self._read(file, slots[rounds[0]])
            return None if groups is None else ClientState(rounds[0], groups.pop(_BASE), groups)
        finally:
            os.close(file)

    def save(self, state: ClientState) -> None:
        """Write a state, never over the newest of an earlier round; one that a crash left half-written is none."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        groups = {_BASE: state.base, **state.local}
        if _shapes(groups) != _shapes(self._like):
            raise ValueError(f"{self.path}: the state's arrays have other shapes than those of this run")
        file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            slot = self._free(file, state.round)
            os.pwrite(file, bytes(_ROUND + len(self._run)), slot)
            counts = self._write(file, slot, [np.ascontiguousarray(a) for group in self._like for a in groups[group]])
            os.pwrite(file, counts.tobytes(), slot + _ROUND + len(self._run))
            os.pwrite(file, state.round.to_bytes(_ROUND, "little") + self._run, slot)
        except OSError as error:
            raise RunError(f"{self.path} can't be written ({error.strerror}); the states before are intact") from None
        finally:
            os.close(file)

    def _free(self, file: int, round_: int) -> int:
        """The slot whose state isn't worth keeping beside that of a round."""
        rounds = [self._round(file, slot) for slot in self._slots]
        kept = beside(sorted(r for r in rounds if r and r != round_), round_)
        return self._slots[rounds[0] == kept]

    def _round(self, file: int, slot: int) -> int:
        """Round of the state in a slot, 0 where there is none of this run.

        Raises:
            RunError: There is one that an older build has written.
        """
        header = os.pread(file, _ROUND + len(self._run), slot)
        if header[_ROUND:] == self._older:
            raise RunError(f"{self.path}: its records are an older fedkd's; finish the run with that, or begin anew")
        return int.from_bytes(header[:_ROUND], "little") if header[_ROUND:] == self._run else 0

    def _read(self, file: int, slot: int) -> dict[str, Weights] | None:
        """Read the arrays of a slot by their groups; None where it doesn't hold them."""
        said = os.pread(file, 4 * len(self._arrays), slot + _ROUND + len(self._run))
        try:
            counts = np.frombuffer(said, np.int32)
            parts = [room(count, like) for count, like in zip(counts.tolist(), self._arrays, strict=True)]
            for buffers, offset in _chunks([a for part in parts for a in part], slot + self._begin):
                if os.preadv(file, buffers, offset) != sum(b.nbytes for b in buffers):
                    return None
            found = iter(map(whole, counts.tolist(), parts, self._arrays))
            return {group: [next(found) for _ in arrays] for group, arrays in self._like.items()}
        except ValueError:
            return None

    def _write(self, file: int, slot: int, arrays: Weights) -> np.ndarray:
        """Write arrays into a slot; returns for each how many of its rows, int32 (n,)."""
        held = [moved(array, like) for array, like in zip(arrays, self._arrays, strict=True)]
        for buffers, offset in _chunks([a for _, part in held for a in part], slot + self._begin):
            if os.pwritev(file, buffers, offset) != (size := sum(b.nbytes for b in buffers)):
                raise RunError(f"{self.path}: {size} bytes can't be written in one go; is the disk full?")
        return np.array([count for count, _ in held], np.int32)


def _up(size: int) -> int:
    """The next multiple of a page."""
    return -(-size // _PAGE) * _PAGE


def _chunks(arrays: Weights, offset: int) -> Iterator[tuple[list[memoryview], int]]:
    """Arrays in order, some hundred at a time, and where in the file each lot begins."""
    filled = [array for array in arrays if array.size]
    for first in range(0, len(filled), _MOST_BUFFERS):
        lot = filled[first : first + _MOST_BUFFERS]
        yield [a.data for a in lot], offset
        offset += sum(a.nbytes for a in lot)


def _shapes(groups: Mapping[str, Weights]) -> dict[str, list[tuple[tuple[int, ...], np.dtype]]]:
    return {group: [(a.shape, a.dtype) for a in arrays] for group, arrays in groups.items()}
