"""Tables of texts in files, CSV or TSV, whose first line names the columns."""

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedkd.base.errors import InputError

_TABS = (".tsv", ".tab")
_DELIMITERS = ",\t;|"  # the first of them wins where a header has several equally often
_LONGEST = 1 << 24  # letters of a field


@dataclass(frozen=True)
class Table:
    """The rows of a file.

    Args:
        path: Of the file.
        columns: Their names, each once.
        rows: The fields of each row, as many as there are columns.
        lines: Number of the line that each row begins in, from 1.
    """

    path: Path
    columns: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    lines: Sequence[int]

    def column(self, name: str, role: str) -> list[str]:
        """Return the fields of a column, without the space around them.

        Args:
            name: Of the column.
            role: What it is wanted for, for messages.

        Raises:
            InputError: There is none of that name, or a field of it is empty.
        """
        if name not in self.columns:
            raise InputError(f"{self.path}: no column {name!r} for the {role}; there are: {', '.join(self.columns)}")
        place = self.columns.index(name)
        fields = [row[place].strip() for row in self.rows]
        if "" in fields:
            line = self.lines[fields.index("")]
            raise InputError(
                f"{self.path}: line {line} has nothing in column {name!r}, the {role}; leave such rows out first"
            )
        return fields


def read_table(path: Path, columns: Sequence[str] = ()) -> Table:
    """Read a file, UTF-8, of which each row has a field for each column.

    Fields are parted by tabs in ``.tsv`` and ``.tab``, else by what the first line has most of: commas, tabs,
    semicolons or bars. What is in double quotes may hold these and line breaks. Where all lines of a file with tabs
    have as many of them, its quotes are letters, but for those around a whole field: texts that people wrote have
    single ones.

    Args:
        path: The file.
        columns: Their names, where the first line doesn't give them but is a row.

    Raises:
        InputError: No such file, no text, no rows, columns of one name, or a row of another number of fields; names
            the line.
    """
    text = _text(path)
    first = text.partition("\n")[0]
    delimiter = "\t" if path.suffix.lower() in _TABS else max(_DELIMITERS, key=first.count)
    rows = list(_unquoted(text) if delimiter == "\t" and _is_plain(text) else _quoted(path, text, delimiter))
    if not rows:
        raise InputError(f"{path}: the file is empty; its first line names the columns")
    if not columns:
        columns, rows = tuple(name.strip() for name in rows[0][1]), rows[1:]
    if twice := sorted({name for name in columns if columns.count(name) > 1}):
        raise InputError(f"{path}: columns must have names of their own, got {twice[0]!r} twice")
    if not rows:
        raise InputError(f"{path}: no rows behind the names of the columns, at least one is needed")
    for line, fields in rows:
        if len(fields) != len(columns):
            raise InputError(
                f"{path}: line {line} must have {len(columns)} fields, as many as columns, got {len(fields)}"
            )
    return Table(path, tuple(columns), [fields for _, fields in rows], [line for line, _ in rows])


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: must be UTF-8, got byte {error.object[error.start]:#x} at {error.start}") from None


def _is_plain(text: str) -> bool:
    """Whether all lines have as many tabs."""
    return len({line.count("\t") for line in text.split("\n") if line.strip()}) == 1


def _unquoted(text: str) -> Iterator[tuple[int, list[str]]]:
    for line, row in enumerate(text.split("\n"), 1):
        if row.strip():
            yield line, [_without_quotes(field) for field in row.split("\t")]


def _without_quotes(field: str) -> str:
    """What a field says that is in double quotes as a whole, where all within are doubled; others as they are."""
    inner = field[1:-1]
    whole = len(field) > 1 and field[0] == field[-1] == '"' and '"' not in inner.replace('""', "")
    return inner.replace('""', '"') if whole else field


def _quoted(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(_LONGEST)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    begins = 1
    while True:
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise InputError(f"{path}: the row of line {begins} can't be read ({error})") from None
        if fields:
            yield begins, fields
        begins = reader.line_num + 1
