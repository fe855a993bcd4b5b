"""Settings in folders that somebody else may have written: names in them are code that would run here."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from fedkd.base.errors import InputError
from fedkd.base.task_name import PLACES
from fedkd.config.config import Scalar
from fedkd.config.settings import read_toml

# The keys whose values may name code of the user's own, as module:function; transforms do so word by word.
_CODE = ("task", "exchange.up", "exchange.down", "exchange.transforms", "train.optimizer", "partition.kind")
_CLASS_TEACHER = re.compile(r"classes\..*\.teacher")
# Tasks that are data.
_DATA = (*(f"{kind}:" for kind in PLACES), "object:")


def trusted_settings(
    path: Path, trust: bool, given: Mapping[str, Scalar] | None = None, option: str = "--trust"
) -> dict[str, Scalar]:
    """Read a configuration that a command found in a folder, rather than being given it.

    Args:
        path: The TOML file.
        trust: Whether code that it names may run.
        given: Settings that the command was given itself: code that is named there, too, may run.
        option: What gives ``trust``, for the message.

    Raises:
        InputError: The file is missing or isn't TOML, or it names code that nobody has trusted.
    """
    settings = read_toml(path)
    known = set(named_code(given or {}))
    strangers = [f"{key} = {name!r}" for key, name in named_code(settings) if (key, name) not in known]
    if strangers and not trust:
        raise InputError(
            f"{path}: {strangers[0]} is Python code that would run here; give {option} if you know whose it is"
            + (f" (also {', '.join(strangers[1:])})" if strangers[1:] else "")
        )
    return settings


def trust_option(settings: Mapping[str, Scalar]) -> str:
    """What a command has to be given, after a space, to go on with such settings: nothing, or ``--trust``."""
    return " --trust" if any(named_code(settings)) else ""


def named_code(settings: Mapping[str, Scalar]) -> Iterator[tuple[str, str]]:
    """Keys that name code of the user's own, with the names.

    >>> list(named_code({"task": "npz:a.npz", "exchange.transforms": "clip=1 mine:noise=.1"}))
    [('exchange.transforms', 'mine:noise')]
    """
    for key in (*_CODE, *filter(_CLASS_TEACHER.fullmatch, settings)):
        value = str(settings.get(key, ""))
        names = [word.partition("=")[0] for word in value.split()] if key == "exchange.transforms" else [value]
        yield from ((key, name) for name in names if ":" in name and not (key == "task" and name.startswith(_DATA)))
