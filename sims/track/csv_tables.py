"""The run's figures as CSV files in its folder: ``rounds``, ``clients``, ``files`` and ``settings`` in ``csv/``."""

import csv
from collections.abc import Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from fedkd.base.files import replace_file
from fedkd.results.device_file import DeviceFile
from fedkd.results.round import Round
from sims.track.figures import client_figures, file_figures, round_figures
from sims.track.tracker import Settings


class _Table:
    """A CSV file that grows, by rows at its end and by columns at its right.

    Args:
        path: The file; what it held goes with the first row.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._rows, self._columns = path, list[Mapping[str, Any]](), list[str]()

    def extend(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows; a column that they are the first to have is empty in those before."""
        new = [name for name in dict.fromkeys(name for row in rows for name in row) if name not in self._columns]
        self._rows += rows
        if new:
            self._columns += new
            replace_file(self._path, self._text(self._rows, head=True).encode())
        elif rows:
            with self._path.open("a", encoding="utf-8", newline="") as file:
                file.write(self._text(rows, head=False))

    def _text(self, rows: Sequence[Mapping[str, Any]], head: bool) -> str:
        text = StringIO()
        writer = csv.DictWriter(text, self._columns, lineterminator="\n")
        if head:
            writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()


class CsvTables:
    """A row a round, a row a client and round, a row a device file, a row a setting."""

    needs = ""

    def begin(self, folder: Path, settings: Settings, before: Sequence[Round]) -> None:
        """Write the tables of these rounds."""
        self._folder = folder / "csv"
        self._folder.mkdir(exist_ok=True)
        for name in ("rounds", "clients", "files", "settings"):
            (self._folder / f"{name}.csv").unlink(missing_ok=True)
        self._rounds, self._clients = (_Table(self._folder / f"{name}.csv") for name in ("rounds", "clients"))
        rows = [{"setting": key, "value": value} for key, value in settings.items()]
        _Table(self._folder / "settings.csv").extend(rows)
        self._rounds.extend([_round_row(row) for row in before])
        self._clients.extend([line for row in before for line in _client_rows(row)])

    def add(self, row: Round) -> None:
        """Add the rows of a round."""
        self._rounds.extend([_round_row(row)])
        self._clients.extend(_client_rows(row))

    def finish(self, files: Sequence[DeviceFile]) -> None:
        """Write the table of device files."""
        known = [{"precision": file.precision, "path": file.path, "error": file.error} for file in files]
        rows = [first | file_figures(file) for first, file in zip(known, files, strict=True)]
        _Table(self._folder / "files.csv").extend(rows)

    def close(self) -> None:
        """Nothing is open between two rounds."""


def _round_row(row: Round) -> dict[str, Any]:
    return {"round": row.number} | {key.partition("/")[2]: value for key, value in round_figures(row).items()}


def _client_rows(row: Round) -> list[dict[str, Any]]:
    return [{"round": row.number, "client": client} | held for client, held in client_figures(row).items()]
