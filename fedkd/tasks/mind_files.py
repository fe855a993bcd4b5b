"""The files of MIND as Microsoft ships them: news with their titles, and impressions of what users were shown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedkd.base.errors import InputError
from fedkd.tasks.delimited import read_table

_NEWS = ("news id", "category", "subcategory", "title", "abstract", "url", "title entities", "abstract entities")
_BEHAVIORS = ("impression id", "user id", "time", "history", "impressions")
_MARKS = {"1": True, "0": False}


@dataclass(frozen=True)
class Impression:
    """What a user was shown at a time.

    Args:
        user: Who.
        history: News clicked before, oldest first, as rows of the titles.
        clicked: News shown that were clicked, likewise; one at least.
        passed: News shown that weren't; one at least.
    """

    user: str
    history: Sequence[int]
    clicked: Sequence[int]
    passed: Sequence[int]


@dataclass(frozen=True)
class Behaviors:
    """A split.

    Args:
        titles: Of all its news, in the order of the file.
        impressions: Of its users, in the order of the file, but for those without a click or of nothing but clicks,
            of which no figure can be made.
    """

    titles: Sequence[str]
    impressions: Sequence[Impression]


def read_split(folder: Path, name: str) -> Behaviors:
    """Read ``behaviors.tsv`` and ``news.tsv`` of a split.

    Args:
        folder: Of the data set; the split is the folder in it of that name, or the one whose name ends so
            (``MINDsmall_train``).
        name: ``train`` or ``dev``.

    Raises:
        InputError: There is no such folder or file, or a line of it breaks a rule; names the line.
    """
    place = _folder(folder, name)
    news = read_table(place / "news.tsv", _NEWS)
    rows = {row[0]: i for i, row in enumerate(news.rows)}
    behaviors = read_table(place / "behaviors.tsv", _BEHAVIORS)
    found = [
        _impression(f"{behaviors.path}: line {line}", fields, rows)
        for line, fields in zip(behaviors.lines, behaviors.rows, strict=True)
    ]
    kept = [each for each in found if each.clicked and each.passed]
    if not kept:
        raise InputError(f"{behaviors.path}: no impression has both a click and news that were passed over")
    return Behaviors([row[3] for row in news.rows], kept)


def _folder(folder: Path, name: str) -> Path:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found = sorted(path for path in folder.iterdir() if path.is_dir() and path.name.rpartition("_")[2] == name)
    if len(found) != 1:
        names = ", ".join(path.name for path in found) or "none"
        raise InputError(f"{folder}: must hold one folder {name} with behaviors.tsv and news.tsv, got {names}")
    return found[0]


def _impression(where: str, fields: Sequence[str], rows: Mapping[str, int]) -> Impression:
    _, user, _, history, shown = fields
    pairs = [item.rpartition("-") for item in shown.split()]
    if odd := [item for item, (_, _, mark) in zip(shown.split(), pairs, strict=True) if mark not in _MARKS]:
        raise InputError(f"{where}: impressions must be NEWS-1 (clicked) or NEWS-0, got {odd[0]!r}")
    for news in (*history.split(), *(news for news, _, _ in pairs)):
        if news not in rows:
            raise InputError(f"{where} names news {news!r}, which news.tsv beside it doesn't hold")
    sides = {mark: [rows[news] for news, _, found in pairs if _MARKS[found] == mark] for mark in (True, False)}
    return Impression(user, [rows[news] for news in history.split()], sides[True], sides[False])
