"""What a JSON document must look like, said in Python: checks that name the place, the value and the rule."""

import math
from collections.abc import Callable
from typing import Any

from fedkd.base.errors import InputError

Check = Callable[[Any, str], None]
_SHOWN = 40  # letters of a wrong value


def text(value: Any, where: str) -> None:
    """Any text."""
    _must(isinstance(value, str), value, where, "text")


def flag(value: Any, where: str) -> None:
    """True or false."""
    _must(isinstance(value, bool), value, where, "true or false")


def number(value: Any, where: str) -> None:
    """A finite number."""
    known = isinstance(value, int | float) and not isinstance(value, bool)
    _must(known and math.isfinite(value), value, where, "a number")


def amount(value: Any, where: str) -> None:
    """A number that isn't negative: bytes, milliseconds, multiplications."""
    number(value, where)
    _must(value >= 0, value, where, "at least 0")


def share(value: Any, where: str) -> None:
    """A number in [0, 1]."""
    number(value, where)
    _must(0 <= value <= 1, value, where, "in [0, 1]")


def pair(value: Any, where: str) -> None:
    """Two numbers."""
    _must(isinstance(value, list) and len(value) == 2, value, where, "two numbers")
    for item in value:
        number(item, where)


def count(value: Any, where: str) -> None:
    """A whole number from 1."""
    _must(isinstance(value, int) and value >= 1, value, where, "a whole number from 1")


def optional(check: Check) -> Check:
    """What the check takes, or null."""
    return lambda value, where: None if value is None else check(value, where)


def every(check: Check) -> Check:
    """A list of what the check takes."""

    def checked(value: Any, where: str) -> None:
        _must(isinstance(value, list), value, where, "a list")
        for index, item in enumerate(value):
            check(item, f"{where}[{index}]")

    return checked


def named(check: Check) -> Check:
    """An object of any keys, whose values the check takes."""

    def checked(value: Any, where: str) -> None:
        _must(isinstance(value, dict), value, where, "an object")
        for key, item in value.items():
            check(item, _inside(where, key))

    return checked


def having(**checks: Check) -> Check:
    """An object with these keys; it may have others."""

    def checked(value: Any, where: str) -> None:
        _must(isinstance(value, dict), value, where, "an object")
        for key, check in checks.items():
            if key not in value:
                raise InputError(f"{where or 'it'} must have the key {key!r}, and has none")
            check(value[key], _inside(where, key))

    return checked


def perhaps(**checks: Check) -> Check:
    """An object in which these keys may be missing or null; it may have others."""

    def checked(value: Any, where: str) -> None:
        _must(isinstance(value, dict), value, where, "an object")
        for key, check in checks.items():
            if value.get(key) is not None:
                check(value[key], _inside(where, key))

    return checked


def _inside(where: str, key: str) -> str:
    return f"{where}.{key}" if where else key


def _must(holds: bool, value: Any, where: str, rule: str) -> None:
    if not holds:
        raise InputError(f"{where or 'it'} must be {rule}, got {repr(value)[:_SHOWN]}")
