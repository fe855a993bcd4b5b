"""What a run's finishing rounds were for and left no file of."""

import sys
from pathlib import Path

import typer

from fedkd.results.run_folder import read
from sims.exit_codes import NOTHING_FITS


def check_files(folder: Path) -> None:
    """End with code 3 where clients were to learn int8 and the run, at its end, has no int8 file that is to be used.

    Args:
        folder: Of a run.
    """
    run = read(folder)
    if run.summary is None or not run.settings.get("edge.qat"):
        return
    whys = [file.error or file.warning for file in run.summary.files if file.precision == "int8"]
    if why := next(filter(None, whys), None):
        print(
            f"error: finishing rounds were for int8 (qat int8), and there is no int8 file to use: {why}",
            file=sys.stderr,
        )
        raise typer.Exit(NOTHING_FITS)
