"""Experiments that come with fedkd: a run's configuration (``demo``) and suites."""

from importlib.resources import files
from pathlib import Path

from fedkd.base.errors import InputError

_ENDING = ".toml"


def experiments() -> dict[str, Path]:
    """The files that come with fedkd, by their names without the ending."""
    found = (Path(str(file)) for file in files(__package__).iterdir() if file.name.endswith(_ENDING))
    return {path.stem: path for path in sorted(found)}


def experiment_file(path: Path) -> Path:
    """Return a file of settings: one that is there, or else the one of that name that comes with fedkd.

    Args:
        path: As it was typed; a bare name such as ``demo`` may be an experiment's.

    Raises:
        InputError: A bare name without an ending that is neither.
    """
    if path.exists() or path.suffix or path.name != str(path):
        return path
    known = experiments()
    if path.name not in known:
        raise InputError(f"{path}: no such file, and no experiment that comes with fedkd: {', '.join(known)}")
    return known[path.name]
