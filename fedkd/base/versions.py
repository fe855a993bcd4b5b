"""Versions of what a result depends on beside its settings and data."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("fedkd", "keras", "tensorflow", "numpy")


def versions(*names: str) -> dict[str, str]:
    """Versions of packages by their names, without an import of them; ``unknown`` for one that isn't installed.

    Args:
        names: Which; those of ``PACKAGES`` where none is given.
    """
    return {name: _version(name) for name in names or PACKAGES}


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Say which versions are others than before, each as ``NAME was X, is Y``.

    >>> changed({"keras": "3.10", "numpy": "2.1"}, {"keras": "3.11", "numpy": "2.1"})
    ['keras was 3.10, is 3.11']
    """
    return [f"{name} was {before[name]}, is {now[name]}" for name in now if before.get(name, now[name]) != now[name]]


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"
