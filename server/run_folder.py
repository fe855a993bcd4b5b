"""The folder a run writes: its configuration, a line a round, its models and its summary."""

import json
import shutil
from pathlib import Path
from typing import Any

from fedkd.config import Config
from fedkd.errors import InputError
from fedkd.files import check_free, replace_file
from fedkd.settings import to_toml

_MARK = "# Written by fedkd: `fedkd run` with this file repeats the run.\n"


class RunFolder:
    """Writes ``config.toml``, ``history.jsonl`` and ``summary.json``.

    Args:
        path: An empty folder, see ``create``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, config: Config, overwrite: bool) -> "RunFolder":
        """Make the folder and write the configuration into it.

        Raises:
            InputError: The folder exists and ``overwrite`` is off, or it is no run's folder, or it can't be made.
        """
        check_free(path, overwrite, "a run", is_run)
        try:
            if path.exists():
                shutil.rmtree(path)
            path.mkdir(parents=True)
        except OSError as error:
            raise InputError(f"out: {path} can't be written ({error.strerror})") from None
        (path / "config.toml").write_text(_MARK + to_toml(config), encoding="utf-8")
        return cls(path)

    def append(self, record: dict[str, Any]) -> None:
        """Add a line to the history, on disk when this returns: an interrupted run leaves what it reached."""
        with (self.path / "history.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def write_summary(self, summary: dict[str, Any]) -> None:
        """Write the summary in one step."""
        replace_file(self.path / "summary.json", (json.dumps(summary, indent=2) + "\n").encode())


def run_path(out: object, config: Config) -> Path:
    """Folder of a run: ``out``, or ``runs/TASK-METHOD-SEED`` where that is empty."""
    task = Path(config.task.partition("#")[0].rpartition(":")[2]).stem
    return Path(str(out or Path("runs") / f"{task}-{config.method}-{config.seed}"))


def is_run(path: Path) -> bool:
    """Tell a folder that a run has written."""
    config = path / "config.toml"
    return config.is_file() and config.read_text(encoding="utf-8", errors="replace").startswith(_MARK)
