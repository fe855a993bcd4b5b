"""The parts of a task's name: its kind, where its data lie, and what is said of their columns."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

from fedkd.base.errors import InputError

# Kinds of tasks whose name says where their data lie; the place of these is a file.
FILES = ("npz", "csv")
PLACES = (*FILES, "hf")
TEST = "test"  # of csv:PATH#..., another file


class TaskName(NamedTuple):
    """A task's name in its parts: ``kind:place#columns``.

    Attributes:
        kind: What is before the first colon; the whole name of a task without one.
        place: What is behind it.
        columns: What is behind its last ``#`` for ``csv``, and behind its first one for ``hf``; else empty.
    """

    kind: str
    place: str = ""
    columns: str = ""

    def __str__(self) -> str:
        """The name."""
        return f"{self.kind}:{self.place}{'#' if self.columns else ''}{self.columns}" if self.place else self.kind


def parse_task(name: str) -> TaskName:
    """Take a task's name apart.

    Examples:
        >>> tuple(parse_task("csv:a#b/tweets.csv#label=kind")), tuple(parse_task("digits"))
        (('csv', 'a#b/tweets.csv', 'label=kind'), ('digits', '', ''))
    """
    kind, _, place = name.partition(":")
    if kind == "hf":
        place, _, columns = place.partition("#")
        return TaskName(kind, place, columns)
    if kind == "csv" and "#" in place:
        place, _, columns = place.rpartition("#")
        return TaskName(kind, place, columns)
    return TaskName(kind, place)


def read_columns(text: str) -> dict[str, str]:
    """Read ``KEY=VALUE,KEY=VALUE``, where %XX stands for a letter that would else end a value.

    Raises:
        InputError: A part isn't of that form, or a key is there twice.

    Examples:
        >>> read_columns("text=the%2C text,label=kind")
        {'text': 'the, text', 'label': 'kind'}
    """
    found: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not (equals and value):
            raise InputError(f"what is behind # must be KEY=VALUE with commas between, got {part!r}")
        if key in found:
            raise InputError(f"what is behind # names {key} once, got {text!r}")
        found[key] = unquote(value)
    return found


def absolute_task(name: str) -> str:
    """The name of the same task in any folder: paths in it are absolute."""
    parts = parse_task(name)
    if parts.kind not in FILES and not (parts.kind == "hf" and Path(parts.place).is_dir()):
        return name
    moved = parts._replace(place=str(Path(parts.place).absolute()))
    return str(moved._replace(columns=_with_test(moved, lambda path: str(Path(path).absolute()))))


def pathless_task(name: str) -> str:
    """What a task is but for where its data lie: columns stay, and so do functions.

    Examples:
        >>> pathless_task("csv:a.csv#label=y,test=b.csv"), pathless_task("hf:x#label"), pathless_task("npz:a.npz")
        ('csv#label=y,test=given', 'hf#label', 'npz')
    """
    parts = parse_task(name)
    if parts.kind not in PLACES:
        return name
    columns = _with_test(parts, lambda _: "given")
    return f"{parts.kind}#{columns}" if columns else parts.kind


def _with_test(parts: TaskName, change: Callable[[str], str]) -> str:
    """The columns with another path of the test file."""
    if parts.kind != "csv" or f"{TEST}=" not in parts.columns:
        return parts.columns
    found = read_columns(parts.columns)
    return ",".join(
        f"{key}={quote(change(value) if key == TEST else value, safe='/: ')}" for key, value in found.items()
    )
