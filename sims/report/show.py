"""What a person sees of a run at its end: its page, and its figures as a table."""

from pathlib import Path

from rich.console import Console

from fedkd.results.run_folder import read
from sims.report.page import write_report
from sims.report.table import summary_table


def show_report(folder: Path, console: Console) -> None:
    """Write report.html and its plots, and print the figures of a run, or where the page is if it hasn't finished."""
    page, run = write_report(folder), read(folder)
    if run.summary is None:
        console.print(f"report of an interrupted run: {page}", highlight=False)
    else:
        console.print(summary_table(run.summary, page, run.baseline_label))
