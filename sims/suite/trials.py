"""The trials of a suite: run before its cells, some of whose settings they decide."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fedkd.base.errors import InputError, require
from fedkd.objectives.metric import ACCURACY, Scale
from fedkd.results.run_folder import RunFolder, read
from sims.report.table import spread
from sims.suite.folder import summary_of
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
        InputError: A trial breaks a rule or can't be judged, or cells that share trials differ in more than their
            seeds.
    """
    tuned = {cell.trials[0].name: cell.trials for cell in cells if cell.trials}
    for cell in cells:
        if cell.trials and tuned[cell.trials[0].name] != cell.trials:
            raise InputError(f"cell {cell.name}: another variant of this name has other trials; give it another name")
    jobs = plan([trial for trials in tuned.values() for trial in trials], out / FOLDER)
    for job in jobs:
        where, train = f"trial {job.cell.name}: ", job.config.train
        rule = "above 0: trials are judged by what clients hold out"
        require(train.holdout > 0, f"{where}train.holdout", train.holdout, rule)
        rule = "2 or more: clients measure the shared model as a round begins"
        require(job.config.rounds > 1, f"{where}rounds", job.config.rounds, rule)
    following = iter(jobs)
    return {first: tuple(next(following) for _ in trials) for first, trials in tuned.items()}


def choices_of(trials: Trials) -> dict[str, Choice]:
    """Judge trials that have all ended.

    Raises:
        InputError: What clients measured in one can't be read.
    """
    return {first: _choice(jobs) for first, jobs in trials.items()}


def known_choices(trials: Trials) -> dict[str, Choice]:
    """Judge those variants whose trials have all ended and can be read."""
    found = {}
    for first, jobs in trials.items():
        with suppress(InputError):
            if all(summary_of(job) for job in jobs):
                found[first] = _choice(jobs)
    return found


def _choice(jobs: tuple[Job, ...]) -> Choice:
    summary = RunFolder(jobs[0].folder).summary
    metric = summary.metric if summary else ACCURACY
    return Choice(jobs, metric, tuple(_figure(job, metric) for job in jobs))


def _figure(job: Job, metric: Scale) -> float:
    try:
        return held_out(read(job.folder).history, metric)
    except InputError as error:
        raise InputError(f"trial {job.cell.name}: {error}; remove {job.folder} to run it again") from None


def decided(cells: Sequence[Cell], choices: Mapping[str, Choice]) -> tuple[Cell, ...]:
    """Give cells what their trials chose; those whose trials aren't judged yet still have them."""
    return tuple(_decided(cell, choices.get(cell.trials[0].name)) if cell.trials else cell for cell in cells)


def _decided(cell: Cell, choice: Choice | None) -> Cell:
    if choice is None:
        return cell
    return replace(cell, settings={**cell.settings, **choice.chosen.cell.varied}, trials=())


def trials_table(choices: Mapping[str, Choice]) -> str:
    """Return a row a trial as Markdown: what it was, what clients measured, and which were followed."""
    rows = [["task", "method", "trial", "rounds", "seed", "held out", "chosen"]]
    rows.append(["---", "---", "---", "--:", "--:", "--:", "---"])
    for choice in choices.values():
        equal = choice.figures.count(choice.figures[choice.jobs.index(choice.chosen)])
        yes = "yes" if equal == 1 else f"first of {equal} equal"
        for job, figure in zip(choice.jobs, choice.figures, strict=True):
            work = [str(job.config.rounds), str(job.config.seed)]
            shown = spread([figure], choice.metric.factor, 2)
            rows.append([*_named(job.cell), *work, shown, yes if job is choice.chosen else ""])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _named(cell: Cell) -> tuple[str, str, str]:
    tried = ", ".join(f"{key} {_written(value)}" for key, value in cell.varied.items())
    return str(cell.settings["task"]), cell.label, tried


def _written(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
