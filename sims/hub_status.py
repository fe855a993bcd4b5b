"""What ``fedkd hub status`` shows: versions and how many devices run each, then the devices themselves."""

import time
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from server.hub.repository import Repository
from server.hub.status import Device, Group, ago, devices, groups, urgent_first

_MOST_GROUPS = 20


def show_status(folder: Path, limit: int, console: Console) -> None:
    """Print what is published and what devices run.

    Args:
        folder: Of the hub.
        limit: Devices to list; 0 for all.
        console: Where to print.

    Raises:
        InputError: There is no hub.
    """
    repository = Repository(folder)
    repository.store.root()
    newest = {channel: manifest.version for channel, manifest in repository.manifests().items()}
    published = ", ".join(f"{channel} version {version}" for channel, version in newest.items()) or "nothing yet"
    console.print(f"published: {published}", soft_wrap=True)
    found = devices(folder / "reports.jsonl")
    if not found:
        console.print("no device has reported; those that fetch from a web server never do")
        return
    now = time.time()
    console.print(_versions(groups(found.values()), newest, now))
    console.print(_devices(urgent_first(found.values(), newest), limit, newest, now))
    if 0 < limit < len(found):
        console.print(f"{limit} of {len(found):,} devices; --limit 0 lists all")
    console.print("names are what devices call themselves, and anybody may report")


def _versions(counted: list[Group], newest: dict[str, int], now: float) -> Table:
    right = [Column(name, justify="right") for name in ("version", "devices", "failed")]
    table = Table(Column("channel", overflow="fold"), *right, "last seen", box=None)
    for group in counted[:_MOST_GROUPS]:
        mark = " (newest)" if newest.get(group.channel) == group.version else ""
        version = f"{group.version}{mark}" if group.version else "none"
        table.add_row(group.channel or "–", version, f"{group.devices:,}", f"{group.failed:,}", ago(now - group.seen))
    if rest := counted[_MOST_GROUPS:]:
        table.add_row("others", "", f"{sum(g.devices for g in rest):,}", f"{sum(g.failed for g in rest):,}", "")
    return table


def _devices(found: list[Device], limit: int, newest: dict[str, int], now: float) -> Table:
    version = Column("version", justify="right")
    table = Table(Column("device", overflow="fold"), "channel", version, "last seen", "state", box=None)
    for device in found[: limit or None]:
        state = device.state(newest) + (f": {device.failure}" if device.failure else "")
        shown = str(device.version) if device.version else "none"
        table.add_row(device.name, device.channel or "–", shown, ago(now - device.seen), state)
    return table
