"""Who runs which version: what devices have reported, beside what is published."""

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from server.hub.reports import report_files

# States in the order in which somebody has to do something about them.
FAILED, NO_MODEL, AHEAD, BEHIND, CURRENT = "failed", "no model", "ahead", "behind", "up to date"
_ORDER = (FAILED, NO_MODEL, AHEAD, BEHIND, CURRENT)


@dataclass(frozen=True)
class Device:
    """What a device has reported last.

    Args:
        name: Its own name for itself, which proves nothing.
        channel: Of the model that runs; empty where none does.
        version: Of that model, 0 for none.
        seen: When it reported, in seconds since 1970.
        failure: Why an update or its model failed; empty where none did.
    """

    name: str
    channel: str
    version: int
    seen: float
    failure: str

    def state(self, newest: Mapping[str, int]) -> str:
        """One word or two for how it is, given the newest version of each channel."""
        if self.failure:
            return FAILED
        if not self.version:
            return NO_MODEL
        published = newest.get(self.channel, 0)
        return CURRENT if self.version == published else AHEAD if self.version > published else BEHIND


class Group(NamedTuple):
    """Devices that run one version of a channel: how many, how many of them failed at something, who was seen last."""

    channel: str
    version: int
    devices: int
    failed: int
    seen: float


def devices(reports: Path) -> dict[str, Device]:
    """Read the last report of each device, by its name; lines that aren't reports count for nothing.

    Args:
        reports: ``reports.jsonl`` of a hub, see ``server.hub.reports``.
    """
    found: dict[str, Device] = {}
    for path in report_files(reports):
        for device in _read(path):
            found[device.name] = device
    return found


def _read(path: Path) -> Iterator[Device]:
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                row = json.loads(line)
                seen, version = float(row["time"]), int(row["version"])
                name, channel, failure = (_plain(str(row[key])) for key in ("device", "channel", "failure"))
                if math.isfinite(seen):
                    yield Device(name, channel, version, seen, failure)
            except (ValueError, TypeError, KeyError, OverflowError):
                continue  # one that was cut off, or of another fedkd


def _plain(text: str) -> str:
    """A stranger's text with what would move a terminal's cursor replaced."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def groups(found: Iterable[Device]) -> list[Group]:
    """Count devices by channel and version, channels by name, the newest version first."""
    counts, failed, seen = Counter[tuple[str, int]](), Counter[tuple[str, int]](), dict[tuple[str, int], float]()
    for device in found:
        key = (device.channel, device.version)
        counts[key] += 1
        failed[key] += bool(device.failure)
        seen[key] = max(device.seen, seen.get(key, device.seen))
    return [Group(*key, counts[key], failed[key], seen[key]) for key in sorted(counts, key=lambda k: (k[0], -k[1]))]


def urgent_first(found: Iterable[Device], newest: Mapping[str, int]) -> list[Device]:
    """Order devices: those that failed first, those that are up to date last; of one state who was seen last first."""
    return sorted(found, key=lambda device: (_ORDER.index(device.state(newest)), -device.seen, device.name))


def ago(seconds: float) -> str:
    """How long ago something was, in words.

    >>> ago(-5), ago(1.2), ago(150), ago(7300), ago(90000), ago(86400 * 40)
    ('just now', '1 second ago', '2 minutes ago', '2 hours ago', '1 day ago', '40 days ago')
    """
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        if (count := int(seconds // size)) >= 1:
            return f"{count:,} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
