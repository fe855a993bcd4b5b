"""The command ``fedkd edge``."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sims.exits import NOTHING_FITS, errors_for_people


def edge(
    source: Annotated[Path, typer.Argument(metavar="RUN|MODEL.keras", help="Folder of a run, or any Keras model.")],
    budget: Annotated[
        str,
        typer.Option(
            help="What the device has room for and what may be lost: flash, arena (B, KB, MB), macs (k, M), drop"
            " (points of accuracy), as in flash=32KB,arena=16KB,macs=1M,drop=1.0. With arena, files are meant for"
            " TensorFlow Lite Micro."
        ),
    ],
    task: Annotated[str, typer.Option(help="See `fedkd tasks`; a run names its own.")] = "",
    data: Annotated[str, typer.Option(help="File with the data of a named task, where it needs one.")] = "",
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.npz",
            help="Array x of inputs, for the ranges of integers. (default: the run's, or the task's)",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write. (default: RUN/edge or runs/MODEL-edge)")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the folder of an earlier search.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same files.")] = 0,
    c_array: Annotated[
        bool, typer.Option("--c-array", help="Write the chosen file as model_data.h and .cc for a firmware, too.")
    ] = False,
    emulate: Annotated[
        str | None, typer.Option(help="pi4: run the chosen file on an emulated Raspberry Pi 4, too.")
    ] = None,
) -> None:
    """Search the device file that meets a budget: fewer channels, fewer bits, and the training this takes."""
    with errors_for_people():
        from fedkd.edge.budget import parse_budget
        from sims.edge.device import check_device, emulated, to_c
        from sims.edge.run import run_search
        from sims.edge.table import nearest, summary
        from sims.report.edge_page import write_edge_page

        limits, console = parse_budget(budget), Console()
        if emulate is not None:
            check_device(emulate)
        folder = out or (source / "edge" if source.is_dir() else Path("runs") / f"{source.stem}-edge")
        found, result = run_search(source, limits, folder, overwrite, console, task, data, calibration, seed)
        console.print(*summary(result), sep="\n")
        console.print(f"all files: {write_edge_page(folder)}", highlight=False)
        chosen = next((each for each in result["candidates"] if each["path"] == result["chosen"]), None)
        if chosen is None:
            print(f"error: {nearest(result)}", file=sys.stderr)
            raise typer.Exit(NOTHING_FITS)
        if c_array:
            console.print(to_c(folder, chosen, found), highlight=False)
        if emulate is not None:
            console.print(emulated(folder, chosen, found), highlight=False)
