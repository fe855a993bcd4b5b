"""The trials of a suite: run before its cells, some of whose settings they decide."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedkd.base.errors import InputError
from fedkd.objectives.metric import ACCURACY, Scale
from fedkd.results.run_folder import RunFolder, read
from sims.report.table import spread
from sims.suite.plan import Job, plan
from sims.suite.suite_file import Cell
from sims.suite.tuning import best, held_out

FOLDER = "trials"  # in the suite's, and made like it

# By the name of a variant's first trial.
Trials = Mapping[str, tuple[Job, ...]]


@dataclass(frozen=True)
class Choice:
    """What the trials of a variant came to.

    Args:
        jobs: Of all of them.
        metric: By which they are judged.
        figures: Of each, by what clients measured on what they hold out.
    """

    jobs: tuple[Job, ...]
    metric: Scale
    figures: tuple[float, ...]

    @property
    def chosen(self) -> Job:
        """The trial that is followed."""
        return self.jobs[best(self.figures, self.metric)]


def trials_of(cells: Sequence[Cell], out: Path) -> Trials:
    """Check all trials as ``plan`` checks cells, and return those of each variant.

    Args:
        cells: Of a suite.
        out: The suite's folder.

    Raises:
        InputError: A trial breaks a rule, or cells that share trials differ in more than their seeds.
    """
    tuned = {cell.trials[0].name: cell.trials for cell in cells if cell.trials}
    for cell in cells:
        if cell.trials and tuned[cell.trials[0].name] != cell.trials:
            raise InputError(f"cell {cell.name}: another variant of this name has other trials; give it another name")
    jobs = iter(plan([trial for trials in tuned.values() for trial in trials], out / FOLDER))
    return {first: tuple(next(jobs) for _ in trials) for first, trials in tuned.items()}


def choices_of(trials: Trials) -> dict[str, Choice]:
    """Judge trials that have all ended.

    Raises:
        InputError: No client of one measured anything on what it holds out.
    """
    return {first: _choice(jobs) for first, jobs in trials.items()}


def _choice(jobs: tuple[Job, ...]) -> Choice:
    summary = RunFolder(jobs[0].folder).summary
    metric = summary.metric if summary else ACCURACY
    return Choice(jobs, metric, tuple(held_out(read(job.folder).history, metric) for job in jobs))


def decided(cells: Sequence[Cell], choices: Mapping[str, Choice]) -> tuple[Cell, ...]:
    """Give the cells of each variant that was tuned what its trials chose."""
    return tuple(
        replace(cell, settings={**cell.settings, **choices[cell.trials[0].name].chosen.cell.varied})
        if cell.trials
        else cell
        for cell in cells
    )


def trials_table(choices: Mapping[str, Choice]) -> str:
    """Return a row a trial as Markdown: what it was, what clients measured, and which were followed."""
    rows = [["task", "method", "trial", "held out", "chosen"], ["---", "---", "---", "--:", "---"]]
    for choice in choices.values():
        for job, figure in zip(choice.jobs, choice.figures, strict=True):
            chosen = "yes" if job is choice.chosen else ""
            rows.append([*_named(job.cell), spread([figure], choice.metric.factor, 2), chosen])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _named(cell: Cell) -> tuple[str, str, str]:
    tried = ", ".join(f"{key} {_written(value)}" for key, value in cell.varied.items())
    return str(cell.settings["task"]), cell.label, tried


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
