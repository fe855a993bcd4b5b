"""States on disk that outlive a crash, a power cut and a damaged sector: two generations, each a file with its hash."""

import hashlib
import json
import logging
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from fedkd.base.errors import RunError
from fedkd.base.files import replace_file, sync_folder

log = logging.getLogger("fedkd.state")

_NAME = re.compile(r"round-(\d+)\.safetensors")
_LENGTH = struct.Struct("<Q")  # of a safetensors file's header, which comes first
_NO_HASH = "0" * 64
# As it stands in the metadata; inside of a JSON text its quotes would be escaped.
_FIELD = '"sha256":"{}"'


class DamagedError(ValueError):
    """A file that isn't what was written."""


@dataclass(frozen=True)
class Saved:
    """A state as it was saved: the round it is of, what describes it (JSON), and its arrays."""

    round: int
    header: Mapping[str, Any]
    tensors: Mapping[str, np.ndarray]


class CheckpointStore:
    """A folder with the states of the last two rounds, ``round-N.safetensors``.

    Args:
        folder: Made on the first save.
        owner: Whose states they are, a text; those of another owner count as none.
    """

    def __init__(self, folder: Path, owner: str) -> None:
        self.folder, self.owner = folder, owner

    def load(self, before: int | None = None) -> Saved | None:
        """Return the newest whole state, or the best to begin the round ``before`` from; None where there is none.

        A damaged file is left alone and named in a warning.
        """
        rounds = best_first(self._rounds(), before)
        return next((saved for round_ in rounds if (saved := self._read(round_))), None)

    def save(self, saved: Saved) -> None:
        """Write a state, on disk when this returns; of the others one stays, see ``beside``.

        Until then nothing is lost: what was there before is removed last.

        Raises:
            RunError: It can't be written, as on a full disk; the states before are as they were.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for left in self.folder.glob(".round-*.tmp"):
                left.unlink()  # a process that died left it
            replace_file(self._path(saved.round), pack(saved, self.owner), mode=0o600)
            for round_ in set(self._rounds()) - {saved.round, beside(self._rounds(), saved.round)}:
                self._path(round_).unlink()
            sync_folder(self.folder)
        except OSError as error:
            raise RunError(
                f"{self._path(saved.round)} can't be written ({error.strerror}); the state before is intact"
            ) from None

    def _rounds(self) -> list[int]:
        """Rounds of which there are files, ascending."""
        files = self.folder.iterdir() if self.folder.is_dir() else ()
        return sorted(int(found[1]) for file in files if (found := _NAME.fullmatch(file.name)))

    def _path(self, round_: int) -> Path:
        return self.folder / f"round-{round_}.safetensors"

    def _read(self, round_: int) -> Saved | None:
        """Read a file, or say why it counts as none."""
        path = self._path(round_)
        try:
            owner, saved = unpack(path.read_bytes())
        except (OSError, DamagedError) as error:
            log.warning("%s counts as none: %s", path, error)
            return None
        return saved if owner == self.owner and saved.round == round_ else None


def best_first(rounds: Sequence[int], before: int | None) -> Sequence[int]:
    """Order the rounds of saved states by how well the round ``before`` can begin from them.

    The newest of an earlier round is what it began from the first time, or would have. Where both generations are
    of this round or later ones, a damaged checkpoint took the server further back than they go: the older one is
    the nearest. A single one is of the owner's first round, which began from nothing.

    >>> best_first([4, 7], 8), best_first([4, 7], 7), best_first([4, 7], 4), best_first([4], 4)
    ([7, 4], [4], [4, 7], [])
    """
    older = [round_ for round_ in rounds if before is None or round_ < before]
    return older[::-1] or (rounds if len(rounds) > 1 else [])


def beside(rounds: Sequence[int], round_: int) -> int | None:
    """Which other round's state is worth keeping: the newest of an earlier one, else the nearest there is.

    >>> beside([3, 5, 6, 7], 6), beside([6, 7, 8], 6), beside([6], 6)
    (5, 7, None)
    """
    earlier = [other for other in rounds if other < round_]
    later = [other for other in rounds if other > round_]
    return earlier[-1] if earlier else next(iter(later), None)


def pack(saved: Saved, owner: str) -> bytes:
    """Write a state as a safetensors file whose metadata hold the SHA-256 of all of it (but for these 64 digits).

    Raises:
        TypeError: An array is of a dtype that wouldn't come back, such as bfloat16.
    """
    text = json.dumps({"owner": owner, "round": saved.round, **saved.header})
    data = bytes(
        save(
            {name: _writable(name, array) for name, array in saved.tensors.items()}, {"fedkd": text, "sha256": _NO_HASH}
        )
    )
    end = _end_of_header(data)
    return _with_hash(data[:end], _NO_HASH, hashlib.sha256(data).hexdigest()) + data[end:]


def _writable(name: str, array: np.ndarray) -> np.ndarray:
    """An array in C order: safetensors writes the bytes as they lie, and reads them in that order."""
    if array.dtype.kind not in "fiub" or array.dtype.newbyteorder("=") != array.dtype:
        raise TypeError(f"{name} must be an array of numpy's own numbers in this machine's order, got {array.dtype}")
    return np.ascontiguousarray(array).reshape(array.shape)  # which makes scalars vectors


def unpack(data: bytes) -> tuple[str, Saved]:
    """Return owner and state of a file that ``pack`` wrote.

    Raises:
        DamagedError: A bit of it is another, or some are missing.
    """
    try:
        end = _end_of_header(data)
        metadata = json.loads(data[_LENGTH.size : end])["__metadata__"]
        claimed = metadata["sha256"]
        sha = hashlib.sha256(_with_hash(data[:end], claimed, _NO_HASH))
        sha.update(memoryview(data)[end:])
        if sha.hexdigest() != claimed:
            raise DamagedError("its SHA-256 is not the one it claims")
        header = json.loads(metadata["fedkd"])
        return header.pop("owner"), Saved(header.pop("round"), header, load(data))
    except (struct.error, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise error if isinstance(error, DamagedError) else DamagedError("not a whole state") from None


def _with_hash(header: bytes, before: str, after: str) -> bytes:
    return header.replace(_FIELD.format(before).encode(), _FIELD.format(after).encode(), 1)


def _end_of_header(data: bytes) -> int:
    return _LENGTH.size + int(_LENGTH.unpack_from(data)[0])


def grouped(groups: Mapping[str, list[np.ndarray]]) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Give each array of some lists a name of its own; the second table says how many each list has."""
    tensors = {f"{group}/{i}": array for group, arrays in groups.items() for i, array in enumerate(arrays)}
    return tensors, {group: len(arrays) for group, arrays in groups.items()}


def ungrouped(tensors: Mapping[str, np.ndarray], lengths: Mapping[str, int]) -> dict[str, list[np.ndarray]]:
    """Undo ``grouped``."""
    return {group: [tensors[f"{group}/{i}"] for i in range(length)] for group, length in lengths.items()}
