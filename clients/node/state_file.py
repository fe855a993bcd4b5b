"""What the clients of a simulation keep between rounds, all of a kind in one sparse file: untrained ones take no room.

Records are read and written in place, without a map of the file: as fast, and what was touched isn't counted as this
process's memory. A folder for each client (``clients.node.state_folder``) is safer and costs five times as much. Like
there, the states of two rounds are kept, so that a simulation whose process died goes on from the last whole round.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from fedkd.base.checkpoint_store import beside, best_first
from fedkd.base.errors import RunError
from fedkd.base.tensors import Weights
from fedkd.protocol.state import ClientState

_BASE = "base"
_PAGE = 4096
_MOST_BUFFERS = 512  # a call; systems allow 1 024
_ROUND = 8  # bytes of a slot's header; the digest of the run follows


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
        self._run = hashlib.sha256(run.encode()).digest()
        size = _PAGE + sum(array.nbytes for arrays in self._like.values() for array in arrays)
        slot = -(-size // _PAGE) * _PAGE
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
            groups = {g: [np.empty(a.shape, a.dtype) for a in arrays] for g, arrays in self._like.items()}
            for buffers, offset in self._chunks(groups, slots[rounds[0]]):
                if os.preadv(file, buffers, offset) != sum(b.nbytes for b in buffers):
                    return None
            return ClientState(rounds[0], groups.pop(_BASE), groups)
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
            for buffers, offset in self._chunks(groups, slot):
                if os.pwritev(file, buffers, offset) != (size := sum(b.nbytes for b in buffers)):
                    raise RunError(f"{self.path}: {size} bytes can't be written in one go; is the disk full?")
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
        """Round of the state in a slot, 0 where there is none of this run."""
        header = os.pread(file, _ROUND + len(self._run), slot)
        return int.from_bytes(header[:_ROUND], "little") if header[_ROUND:] == self._run else 0

    def _chunks(self, groups: Mapping[str, Weights], slot: int) -> Iterator[tuple[list[memoryview], int]]:
        """Arrays in order, some hundred at a time, and where in the file each lot begins."""
        arrays = [np.ascontiguousarray(a) for group in self._like for a in groups[group] if a.size]
        offset = slot + _PAGE
        for first in range(0, len(arrays), _MOST_BUFFERS):
            lot = arrays[first : first + _MOST_BUFFERS]
            yield [a.data for a in lot], offset
            offset += sum(a.nbytes for a in lot)


def _shapes(groups: Mapping[str, Weights]) -> dict[str, list[tuple[tuple[int, ...], np.dtype]]]:
    return {group: [(a.shape, a.dtype) for a in arrays] for group, arrays in groups.items()}
