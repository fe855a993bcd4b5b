"""A suite from its file to a folder with its table, its plots and a run a cell."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from fedkd.base.errors import RunError
from sims.experiments import experiment_file
from sims.report.page import write_report
from sims.suite.cells import run_cells
from sims.suite.folder import claimed, summary_of
from sims.suite.plan import Job, plan, side_by_side, with_data
from sims.suite.progress import SuiteProgress
from sims.suite.report import write_results
from sims.suite.suite_file import read_suite
from sims.suite.trials import Choice, choices_of, decided, known_choices, trials_of
from sims.track.tracker import Tracker
from sims.track.trackers import log_run, opened


def run_suite(
    file: Path,
    out: Path | None,
    data: Mapping[str, str],
    console: Console,
    reports: bool = False,
    track: Sequence[str] = (),
) -> Path:
    """Run what isn't finished of a suite, and write its results.

    Args:
        file: The suite, or the name of one that comes with fedkd.
        out: Its folder; ``runs/NAME`` where None.
        data: Paths of data files by task.
        console: Where to show progress.
        reports: Whether each finished cell gets its page.
        track: Names of trackers that log each finished cell, see ``sims.track.trackers``.

    Returns:
        The folder: ``results.csv``, ``results.md``, pictures and ``cells/``.

    Raises:
        InputError: The file, a cell or the folder breaks a rule; nothing was written then.
        RunError: Cells or trials failed; the results of the others are written, of trials none.
        KeyboardInterrupt: Stopped by the user; the results of the finished cells are written.
    """
    trackers = opened(track)
    source = experiment_file(file)
    name, cells = read_suite(source)
    folder = out or Path("runs") / name
    cells = with_data(cells, data)
    trials = trials_of(cells, folder.absolute())
    jobs, choices = plan(cells, folder.absolute()), dict[str, Choice]()
    with claimed(folder, source):
        try:
            if trials:
                _run_missing([job for tried in trials.values() for job in tried], "trials", console)
                choices = choices_of(trials)
                jobs = plan(decided(cells, choices), folder.absolute())
            _run_missing(jobs, "cells", console)
        except KeyboardInterrupt:
            done = sum(summary_of(job) is not None for job in jobs)
            raise KeyboardInterrupt(f"after {done} of {len(jobs)} cells; the same command goes on from there") from None
        finally:
            if len(choices) < len(trials):
                choices = known_choices(trials)
                jobs = plan(decided(cells, choices), folder.absolute())
            write_results(folder, name, jobs, choices, command(file, out, data))
            _tell_of_cells(jobs, reports, trackers, console)
    return folder


def _tell_of_cells(jobs: Sequence[Job], reports: bool, trackers: Mapping[str, Tracker], console: Console) -> None:
    """Write the page of each finished cell, and log it, where that is wanted."""
    if not reports and not trackers:
        return
    finished = [job for job in jobs if summary_of(job)]
    with console.status("writing what is known of each cell"):
        for job in finished:
            if reports:
                write_report(job.folder)
            log_run(job.folder, trackers)


def command(file: Path, out: Path | None, data: Mapping[str, str]) -> str:
    """What to type to run a suite again."""
    words = ["fedkd", "suite", str(file), *(["--out", str(out)] if out else [])]
    return shlex.join([*words, *(word for task, path in data.items() for word in ("--data", f"{task}={path}"))])


def _run_missing(jobs: Sequence[Job], what: str, console: Console) -> None:
    """Run the jobs that aren't finished.

    Raises:
        RunError: Some failed.
    """
    missing = [job for job in jobs if summary_of(job) is None]
    if len(missing) < len(jobs):
        console.print(f"{len(jobs) - len(missing)} of {len(jobs)} {what} were finished before", highlight=False)
    progress = SuiteProgress(len(jobs), len(jobs) - len(missing), console, what.removesuffix("s"))
    with progress.shown():
        failures = run_cells(missing, side_by_side(jobs), progress)
    if failures:
        logs = jobs[0].log.parent
        raise RunError(f"{len(failures)} of {len(jobs)} {what} failed: {', '.join(failures)}; see {logs}")
