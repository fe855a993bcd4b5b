"""Runs from Python: ``fedkd.run`` and ``fedkd.open_run``, for notebooks and scripts."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedkd.base.errors import InputError
from fedkd.config.config import Scalar
from fedkd.config.finish import parse_finish
from fedkd.results.device_file import DeviceFile
from fedkd.results.round import Round
from fedkd.results.run_folder import read
from fedkd.results.summary import Summary
from fedkd.tasks.task import Task
from sims.terminal import Terminal

if TYPE_CHECKING:
    import keras
    from matplotlib.figure import Figure
    from pandas import DataFrame

_WIDTH = 100  # letters of the closing table
_TABLE = '<pre style="font-family:monospace;line-height:1.3">{code}</pre>'


class History(tuple[Round, ...]):
    """The rounds of a run, in order."""

    def to_frame(self) -> "DataFrame":
        """Return a row per round, as pandas has it.

        Raises:
            InputError: pandas isn't installed.
        """
        try:
            import pandas as pd
        except ImportError:
            raise InputError(
                "to_frame needs pandas: pip install pandas; the history itself is a tuple of Round"
            ) from None
        return pd.DataFrame([row.to_json() for row in self]).set_index("round")


class Run:
    """A run that was read from its folder, finished or not.

    Args:
        folder: ``runs/NAME``.

    Raises:
        InputError: There is no run, or a file of it doesn't parse.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self._run = folder, read(folder)

    @property
    def history(self) -> History:
        """The rounds that have ended."""
        return History(self._run.history)

    @property
    def summary(self) -> Summary:
        """What the run has shown in the end.

        Raises:
            InputError: It was interrupted.
        """
        if self._run.summary is None:
            raise InputError(
                f"{self.folder}: the run hasn't finished; `fedkd run --resume {self.folder}` goes on with it"
            )
        return self._run.summary

    @property
    def student(self) -> "keras.Model":
        """The shared model at the end of training, which answers with logits alone.

        Raises:
            InputError: The run was interrupted, or shared no whole model.
        """
        from fedkd.base import runtime

        runtime.configure()
        from sims.edge.load import load_model

        file = self.folder / "student.keras"
        if not file.is_file():
            raise InputError(f"{self.folder}: has no student.keras: the run was interrupted, or shared no whole model")
        return load_model(file)

    @property
    def files(self) -> tuple[DeviceFile, ...]:
        """The device files, those that couldn't be made too, each with why."""
        return tuple(self.summary.files)

    def plot(self) -> "Figure":
        """Draw quality by round."""
        from sims.report.plots import LIGHT, quality_by_round

        return quality_by_round(self._run, LIGHT)

    def _repr_html_(self) -> str:
        """The closing table, as notebooks show it."""
        from sims.report.table import summary_table

        console = Terminal(record=True, file=io.StringIO(), width=_WIDTH, force_jupyter=False)
        console.print(summary_table(self.summary, baseline=self._run.baseline_label))
        return console.export_html(inline_styles=True, code_format=_TABLE)

    def __repr__(self) -> str:
        """Name, how far it came, and where it is."""
        return f"<fedkd.Run {self._run.name}: {len(self._run.history)} rounds, in {self.folder}>"


def open_run(folder: str | Path) -> Run:
    """Read the folder of a run, finished or not.

    Raises:
        InputError: There is no run, or a file of it doesn't parse.
    """
    return Run(Path(folder))


def run(
    task: str | Task = "digits",
    *,
    data: str = "",
    method: str | None = None,
    clients: int | None = None,
    rounds: int | None = None,
    seed: int | None = None,
    finish: str | None = None,
    settings: Mapping[str, Scalar] | None = None,
    engine: str = "local",
    out: str | Path | None = None,
    overwrite: bool = False,
    keep_clients: bool = False,
    progress: bool = True,
) -> Run:
    """Train a federation and make device files of its student, as ``fedkd run`` does.

    Args:
        task: A name of ``fedkd tasks``, or a ``fedkd.Task`` of your own.
        data: File with the data of a named task, where it needs one.
        method: See ``fedkd.METHODS``; ``fedkd`` where None.
        clients: Number of clients; the task's choice where None.
        rounds: Rounds of training, before finishing rounds; 20 where None.
        seed: Same seed, same bytes; 0 where None.
        finish: What clients do in finishing rounds, such as ``"prune channels 50%, qat int8"``.
        settings: Any keys of the configuration, e.g. ``{"train.epochs": 5}``.
        engine: ``local``, or ``ray`` for Flower's simulation engine.
        out: Folder to write; ``runs/TASK-METHOD-SEED`` where None.
        overwrite: Replace the folder of an earlier run.
        keep_clients: Keep every client's teacher, as ``clients/`` in the folder.
        progress: Print a line per round.

    Returns:
        The run, read from its folder; its report.html is written.

    Raises:
        InputError: A setting or a file breaks a rule; nothing was written then.
        RunError: The run can't go on.
    """
    from sims.report.page import write_report
    from sims.run import run as run_experiment

    named: dict[str, Any] = {"method": method, "clients": clients, "rounds": rounds, "seed": seed, "data": data or None}
    if isinstance(task, str):
        named["task"] = task
    given = {key: value for key, value in named.items() if value is not None} | dict(settings or {})
    given |= parse_finish(finish) if finish is not None else {}
    own = None if isinstance(task, str) else task
    console = Terminal(quiet=not progress, highlight=False)
    folder = run_experiment(given, engine, Path(out) if out else None, overwrite, keep_clients, console, own)
    write_report(folder)
    return Run(folder)
