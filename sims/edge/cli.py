"""The command ``fedkd edge``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from fedkd.edge.runtimes import EMULATED
from sims.exit_codes import NOTHING_FITS, errors_for_people
from sims.terminal import Terminal

if TYPE_CHECKING:
    from sims.edge.run import Order

_BUDGET = (
    "What the device has room for and what may be lost: flash, arena (B, KB, MB), macs (k, M), drop (points of"
    " accuracy, or another metric's unit), as in flash=32KB,arena=16KB,macs=1M,drop=1.0. With arena, files are meant"
    " for TensorFlow Lite Micro."
)
_CALIBRATION = "Array x of inputs, for the ranges of integers. (default: the run's, or the task's)"
_C_ARRAY = "Write the chosen file as model_data.h and .cc for a firmware, too: it has to run in TensorFlow Lite Micro."
_DEVICES = " or ".join(f"{each.name}, {each.label}" for each in EMULATED)
_RESUME = "Go on with a search that was cut off, given as it was, as if it never had been."
_MODULE = "Python module that registers layers of the model's. May be repeated."
_TRUST = "Run the code that the run's config.toml names (as module:function), or that the model holds (Lambda layers)."
_EMULATE = f"Run the chosen file on an emulated device, too ({_DEVICES}); drop counts there as well."


def edge(
    source: Annotated[Path, typer.Argument(metavar="RUN|MODEL.keras", help="Folder of a run, or any Keras model.")],
    budget: Annotated[str, typer.Option(help=_BUDGET)],
    task: Annotated[str, typer.Option(help="See `fedkd tasks`; a run names its own.")] = "",
    data: Annotated[str, typer.Option(help="File with the data of a named task, where it needs one.")] = "",
    calibration: Annotated[Path | None, typer.Option(metavar="FILE.npz", help=_CALIBRATION)] = None,
    out: Annotated[Path | None, typer.Option(help="Folder to write. (default: RUN/edge or runs/MODEL-edge)")] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace the folder of an earlier search.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help=_RESUME)] = False,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same files.")] = 0,
    c_array: Annotated[bool, typer.Option("--c-array", help=_C_ARRAY)] = False,
    emulate: Annotated[str, typer.Option(help=_EMULATE, show_default=False)] = "",
    module: Annotated[list[str] | None, typer.Option(metavar="NAME", help=_MODULE)] = None,
    trust: Annotated[bool, typer.Option("--trust", help=_TRUST)] = False,
) -> None:
    """Search the device file that meets a budget: fewer channels, fewer bits, and the training this takes."""
    with errors_for_people():
        from fedkd.edge.budget import parse_budget
        from sims.edge.run import Order

        place = out or (source / "edge" if source.is_dir() else Path("runs") / f"{source.stem}-edge")
        limits = parse_budget(budget)
        order = Order(
            source,
            limits,
            place,
            overwrite,
            task,
            data,
            calibration,
            seed,
            c_array,
            emulate,
            trust,
            resume,
            module or (),
        )
        _search(order, Terminal())


def _search(order: "Order", console: Console) -> None:
    """Search, say what was found, and end with code 3 where nothing fits."""
    from sims.edge.run import run_search
    from sims.edge.table import nearest, summary

    result = run_search(order, console)
    console.print(*summary(result), sep="\n")
    console.print(f"all files: {order.out / 'edge.html'}", highlight=False)
    if result.chosen is None:
        print(f"error: {nearest(result)}", file=sys.stderr)
        raise typer.Exit(NOTHING_FITS)
    if order.c_array:
        console.print(f"source: {order.out / 'model_data.h'}, {order.out / 'model_data.cc'}", highlight=False)
