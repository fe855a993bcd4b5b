"""Versions of what a result depends on beside its settings and data."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("fedkd", "keras", "tensorflow", "numpy")


def versions() -> dict[str, str]:
    """Versions of ``PACKAGES`` by their names, without an import of them; ``unknown`` for one that isn't installed."""
    return {name: _version(name) for name in PACKAGES}


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
