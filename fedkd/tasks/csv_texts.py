"""A task of texts and their classes from a CSV or TSV file, columns by their names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fedkd.base.errors import InputError
from fedkd.base.task_name import TEST, parse_task, read_columns
from fedkd.config.config import Scalar
from fedkd.config.model import ModelConfig
from fedkd.tasks import npz
from fedkd.tasks.delimited import Table, read_table
from fedkd.tasks.task import Task

# Where nothing is said, a column of one of these names is taken; letters of either case.
LABEL_NAMES = ("label", "labels", "target", "class", "category", "y")
TEXT_NAMES = ("text", "sentence", "content", "tweet", "title")
_KEYS = ("text", "label", "client", TEST, "share", "seed")
_HINT = "; name it, csv:PATH#{}=COLUMN"
_SHARE = 0.2
_NATURAL: Mapping[str, Scalar] = {"partition.kind": "natural"}


@dataclass(frozen=True)
class Split:
    """Which rows are the test set where no file is.

    Args:
        share: Of each class, in (0, 1).
        seed: Which rows these are.
    """

    share: float = _SHARE
    seed: int = 0

    def test_rows(self, y: np.ndarray) -> np.ndarray:
        """Ascending rows of the test set: the share of each class, one at least, and one at least left.

        Args:
            y: Class of each row, int (n,); each has two rows or more.
        """
        rng, found = np.random.default_rng(self.seed), []
        for label in range(int(y.max()) + 1):
            rows = rng.permutation(np.flatnonzero(y == label))
            found.append(rows[: min(max(1, round(self.share * len(rows))), len(rows) - 1)])
        return np.sort(np.concatenate(found))


def load(name: str, models: ModelConfig) -> Task:
    """Read a task as ``csv:PATH#text=COLUMN,label=COLUMN,client=COLUMN,test=FILE`` names it.

    All behind ``#`` may be left out: then text and label are columns that are called so, clients aren't natural, and
    ``share`` of each class, a fifth, is the test set, by ``seed``, 0.

    Args:
        name: Of the task.
        models: Sizes for the built-in models, or a pretrained model's folder.

    Raises:
        InputError: A file, a column or a setting isn't there or breaks a rule, or there is one class alone.
    """
    parts = parse_task(name)
    try:
        settings = read_columns(parts.columns)
        split = _split(settings)
    except InputError as error:
        raise InputError(f"task {name!r}: {error}") from None
    table = read_table(Path(parts.place))
    test = read_table(Path(settings[TEST])) if TEST in settings else None
    columns = {
        "text": settings.get("text") or found_column(table, TEXT_NAMES, "text", _HINT.format("text")),
        "label": settings.get("label") or found_column(table, LABEL_NAMES, "label", _HINT.format("label")),
    }
    if columns["text"] == columns["label"]:
        raise InputError(f"task {name!r}: text and label must be two columns, got {columns['text']!r} for both")
    if client := settings.get("client"):
        columns["client"] = client
    task = npz.task_of(name, str(table.path), arrays_of(table, test, columns, split), models)
    return replace(task, defaults={**task.defaults, **(_NATURAL if client else {})})


def arrays_of(
    table: Table,
    test: Table | None,
    columns: Mapping[str, str],
    split: Split,
    names: Mapping[str, str] | None = None,
) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz task, see ``fedkd.tasks.npz``, of one table or two.

    Args:
        table: The training rows, and the test rows where they have no table of their own.
        test: The test rows.
        columns: Names of the columns of text and label, and of client where clients are natural.
        split: Which rows are the test set where ``test`` is None.
        names: Class by what stands for it in the column; those of a file's own where None.

    Raises:
        InputError: A column isn't there, a field is empty, or labels break a rule.
    """
    text, label = (np.array(table.column(columns[role], role), object) for role in ("text", "label"))
    classes = names or {value: value for value in _classes(table, label)}
    ids = {kind: i for i, kind in enumerate(dict.fromkeys(classes.values()))}
    y = _labels(table, label, classes, ids)
    _check_counts(table, y, list(ids), 1 if test is not None else 2)
    owners = np.array(table.column(columns["client"], "client")) if "client" in columns else None
    held = np.zeros(len(y), bool)
    if test is None:
        held[split.test_rows(y)] = True
        text_test, y_test = text[held], y[held]
    else:
        text_test = np.array(test.column(columns["text"], "text"), object)
        y_test = _labels(test, np.array(test.column(columns["label"], "label"), object), classes, ids)
    arrays = {"text_train": text[~held], "y_train": y[~held], "text_test": text_test, "y_test": y_test}
    arrays |= {} if owners is None else {"client_train": owners[~held]}
    return arrays | {"classes": np.array(list(ids))}


def _split(settings: Mapping[str, str]) -> Split:
    """Check what is behind the name of a file."""
    if unknown := [key for key in settings if key not in _KEYS]:
        raise InputError(f"what is behind # must be of {', '.join(_KEYS)}, got {unknown[0]!r}")
    if idle := [key for key in ("share", "seed") if key in settings and TEST in settings]:
        raise InputError(f"{idle[0]} must be left out where {TEST} names a file, got {settings[idle[0]]!r}")
    try:
        share = float(settings.get("share", _SHARE))
    except ValueError:
        share = 0.0
    if not 0 < share < 1:
        raise InputError(f"share must be a number above 0 and below 1, got {settings['share']!r}")
    if not (seed := settings.get("seed", "0")).isdecimal():
        raise InputError(f"seed must be a whole number of 0 or more, got {seed!r}")
    return Split(share, int(seed))


def found_column(table: Table, wanted: Sequence[str], role: str, hint: str = "") -> str:
    """Return the column for a role that nobody has named, of the first name that one has in letters of either case.

    Raises:
        InputError: None has such a name.
    """
    known = {name.lower(): name for name in reversed(table.columns)}
    for name in wanted:
        if name in known:
            return known[name]
    raise InputError(
        f"{table.path}: no column for the {role}: none is called {' or '.join(wanted)}; there are:"
        f" {', '.join(table.columns)}{hint}"
    )


def _classes(table: Table, label: np.ndarray) -> list[str]:
    """Values of a column of labels, in the order of numbers where all are whole ones, else of letters."""
    values = sorted(set(label.tolist()))
    if len(values) < 2:
        raise InputError(f"{table.path}: the labels are all {values[0]!r}; at least 2 classes are needed")
    numbers = all(value.removeprefix("-").isdecimal() for value in values)
    return sorted(values, key=int) if numbers else values


def _labels(table: Table, label: np.ndarray, classes: Mapping[str, str], ids: Mapping[str, int]) -> np.ndarray:
    for line, value in zip(table.lines, label, strict=True):
        if value not in classes:
            known = ", ".join(list(classes)[:8]) + (", ..." if len(classes) > 8 else "")
            raise InputError(f"{table.path}: line {line} has label {value!r}, classes of the training rows are {known}")
    return np.array([ids[classes[value]] for value in label], np.int32)


def _check_counts(table: Table, y: np.ndarray, names: Sequence[str], least: int) -> None:
    counts = np.bincount(y, minlength=len(names))
    if counts.min() >= least:
        return
    few = names[int(counts.argmin())]
    need = "to be in training and test set, or name the test rows, test=FILE" if least == 2 else "of it"
    raise InputError(f"{table.path}: class {few!r} has {counts.min()} rows, at least {least} are needed {need}")
