"""Tables of a message cut into parts, each of which crosses a slow link before its sender loses patience.

Flower sends each record of a message by a request of its own, waits 30 s for each, and begins it again from its first
byte. What takes longer can't arrive: 1 MB over 250 kbit/s. Many small ones cost the server time.
"""

import itertools
from collections.abc import Mapping
from typing import Any

from fedkd.protocol.messages import Fields

PART = 1 << 19  # bytes, 17 s at 250 kbit/s


def split(name: str, fields: Fields, parts: dict[bytes, list[bytes]] | None = None) -> dict[str, Fields]:
    """Cut a message.

    Args:
        name: Of its table.
        fields: What it says.
        parts: Those of long bytes that were cut before, and where to keep those of others: messages to many clients
            then share the parts of what is sent to all.

    Returns:
        All fields under its name, and what is left of long bytes in tables after it.
    """
    tables, cut = {name: dict(fields)}, {} if parts is None else parts
    for key, value in fields.items():
        if isinstance(value, bytes) and len(value) > PART:
            if value not in cut:
                cut[value] = [value[at : at + PART] for at in range(0, len(value), PART)]
            tables[name][key], *rest = cut[value]
            tables |= {_part(key, i): {"data": part} for i, part in enumerate(rest, 1)}
    return tables


def join(name: str, tables: Mapping[str, Mapping[str, Any]]) -> Fields:
    """Return the fields that ``split`` was given.

    Raises:
        KeyError, TypeError, ValueError: There is no such table, or one that belongs to no field.
    """
    fields, used = dict(tables[name]), 1
    for key, value in fields.items():
        names = itertools.takewhile(tables.__contains__, (_part(key, i) for i in itertools.count(1)))
        if rest := [tables[part]["data"] for part in names]:
            fields[key] = b"".join([value, *rest])
            used += len(rest)
    if used != len(tables):
        raise ValueError(f"{len(tables)} tables, of which {used} belong to {name}")
    return fields


def _part(key: str, number: int) -> str:
    return f"{key}.{number}"
