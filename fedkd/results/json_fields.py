"""Fields of JSON objects that others may have written, checked as they are read."""

from collections.abc import Mapping
from typing import Any

from fedkd.base.errors import InputError


def required(row: Mapping[str, Any], key: str, where: str, what: str) -> Any:
    """Return a field that must be there.

    Raises:
        InputError: It isn't.
    """
    if key not in row:
        raise InputError(f"{where}: {what} has the key {key!r}, this one has none")
    return row[key]


def number(row: Mapping[str, Any], key: str, where: str) -> Any:
    """Return a field that must be a number.

    Raises:
        InputError: It is something else.
    """
    if not isinstance(row[key], int | float):
        raise InputError(f"{where}: {key} must be a number, got {row[key]!r}")
    return row[key]


def numbers(row: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return fields each of which must be a number or null.

    Raises:
        InputError: One is something else.
    """
    return {key: None if row[key] is None else number(row, key, where) for key in row}


def table(row: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    """Return a field that must be an object; empty where it is missing or null.

    Raises:
        InputError: It is something else.
    """
    value = row.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InputError(f"{where}: {key} must be an object, got {str(value)[:40]!r}")
    return value
