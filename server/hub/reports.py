"""What devices say of their models, as JSON lines; a flood of them costs neither disk nor memory."""

import json
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

LARGEST_FILE = 64 << 20
A_MINUTE = 6000
A_MINUTE_EACH = 10
_TEXT = 300


def report_files(path: Path) -> list[Path]:
    """The files of reports that there are, the older one first."""
    return [file for file in (_older(path), path) if file.is_file()]


def _older(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")


class Reports:
    """A file of reports.

    Args:
        path: Is made with the first; when it is full it becomes ``.1``, in place of the one before.
        clock: Returns the time in seconds.
        largest: Bytes after which it is full.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.time, largest: int = LARGEST_FILE) -> None:
        """Writes nothing yet."""
        self._path, self._clock, self._largest = path, clock, largest
        self._lock, self._minute, self._seen = threading.Lock(), 0, Counter[str]()

    def keep(self, device: str, peer: str, fields: dict[str, str | float | int]) -> bool:
        """Write a report, cut to size; False where there are too many this minute.

        Args:
            device: Its own name for itself.
            peer: Where it calls from.
            fields: Numbers and texts.
        """
        with self._lock:
            now = self._clock()
            if not self._room(device[:_TEXT], now):
                return False
            if self._path.exists() and self._path.stat().st_size >= self._largest:
                self._path.replace(_older(self._path))
            row = {"time": round(now, 3), "device": device, "peer": peer, **fields}
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(json.dumps({key: _bounded(value) for key, value in row.items()}) + "\n")
            return True

    def _room(self, device: str, now: float) -> bool:
        minute = int(now // 60)
        if minute != self._minute:
            self._minute, self._seen = minute, Counter()
        if self._seen.total() >= A_MINUTE or self._seen[device] >= A_MINUTE_EACH:
            return False
        self._seen[device] += 1
        return True


def _bounded(value: Any) -> Any:
    if isinstance(value, str):
        return value[:_TEXT]
    return value if math.isfinite(value) else None
