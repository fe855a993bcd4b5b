"""``fedkd report`` and ``fedkd compare``: what runs have shown, after they ran."""

from pathlib import Path
from typing import Annotated

import typer

from sims.exit_codes import errors_for_people
from sims.options import TrackOption
from sims.terminal import Terminal


def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, finished or not.")],
    track: TrackOption = None,
) -> None:
    """Write report.html and its plots again, and print the figures of a run."""
    with errors_for_people():
        from sims.report.show import show_report
        from sims.track.trackers import log_run, opened

        trackers = opened(track or ())
        show_report(folder, Terminal())
        log_run(folder, trackers)


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs, finished or not.")],
    html: Annotated[Path | None, typer.Option("--html", "--out", metavar="FILE", help="Page to write.")] = None,
    latex: Annotated[Path | None, typer.Option(metavar="FILE", help="Table to write, for LaTeX's booktabs.")] = None,
) -> None:
    """Put runs side by side: the settings in which they differ, quality, bytes and time; seeds are pooled."""
    with errors_for_people():
        from sims.report.compare import comparison
        from sims.report.compare_files import write_latex, write_page
        from sims.report.compare_tables import tables

        found, console = comparison(runs), Terminal()
        console.print(*tables(found), sep="\n")
        if html:
            console.print(f"page: {write_page(found, html)}")
        if latex:
            console.print(f"table: {write_latex(found, latex)}")
