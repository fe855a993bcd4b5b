"""A search from its arguments to its folder."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from fedkd.base import runtime
from fedkd.base.errors import InputError
from fedkd.base.files import check_free
from fedkd.edge.budget import Budget
from fedkd.edge.tflm import MOST_ARENA, installed
from sims.bench.machine import describe
from sims.edge.folder import appearing, is_search

if TYPE_CHECKING:
    from sims.edge.candidate import Bench
    from sims.edge.search import Found
    from sims.edge.source import Source


@dataclass(frozen=True)
class Order:
    """What is asked of a search.

    Args:
        path: A run's folder, or a .keras file.
        budget: To be met.
        out: Folder to write.
        overwrite: Replace the folder of an earlier search.
        task: Its name; may be empty for a run.
        data: File of the task's data, where it needs one.
        calibration: An .npz with the array ``x`` for the ranges of integers.
        seed: Of all that is drawn; the same seed leads to the same files.
        c_array: Write the chosen file as C++ source, too, so that it has to run in TensorFlow Lite Micro.
        device: To be emulated with the chosen file, one of ``sims.edge.device.DEVICES``; empty for none.
    """

    path: Path
    budget: Budget
    out: Path
    overwrite: bool = False
    task: str = ""
    data: str = ""
    calibration: Path | None = None
    seed: int = 0
    c_array: bool = False
    device: str = ""

    @property
    def limits(self) -> Budget:
        """The budget with what the other wishes imply: source for a firmware takes a file that runs there."""
        firmware = self.c_array and not self.budget.micro
        return replace(self.budget, arena=MOST_ARENA) if firmware else self.budget


def run_search(order: Order, console: Console) -> dict[str, Any]:
    """Search the device file that meets a budget, and write all that were tried.

    Args:
        order: What is asked.
        console: Where to show progress.

    Returns:
        What edge.json holds.

    Raises:
        InputError: An argument breaks a rule, or no file could be made at all; nothing was written then.
    """
    _check(order)
    with console.status("starting TensorFlow and reading the model"):
        runtime.configure()
        from sims.edge.source import open_source

        source = open_source(order.path, order.task, order.data, order.calibration, order.seed)
    with appearing(order.out) as folder:
        bench = _bench(source, order.limits, folder)
        found = _search(source, bench, console)
        if not found.candidates:
            recipe, why = found.failed[0]
            raise InputError(f"{order.path}: no file of it could be made: {recipe}: {why}")
        return _written(order, source, bench, found, console)


def _check(order: Order) -> None:
    """Raise InputError on what can be seen to be wrong before TensorFlow starts."""
    check_free(order.out, order.overwrite, "a search", is_search)
    if order.limits.micro and not installed():
        raise InputError(
            "an arena in the budget and --c-array need TensorFlow Lite Micro: pip install 'fedkd[tflm]' (Linux on"
            " x86-64 only)"
        )
    if order.device:
        from sims.edge.device import check_device

        check_device(order.device)


def _bench(source: "Source", budget: Budget, folder: Path) -> "Bench":
    from sims.edge.candidate import Bench, accuracy_of

    test = source.task.test
    return Bench(folder, source.stem, test.x, test.y, budget, accuracy_of(source.model, test.x, test.y))


def _search(source: "Source", bench: "Bench", console: Console) -> "Found":
    """Explore the model and what a run's finishing rounds left, and narrower students where nothing else will do."""
    from sims.edge.narrower import narrower
    from sims.edge.search import Found, Search
    from sims.edge.source import Stage

    first = Stage("student" if source.experiment else "model", bench.float_accuracy)
    search = Search(bench, source.calibration, source.tune, Found(stages=[*source.stages, first]), console)
    found = search.found
    _introduce(source, bench, console)
    if source.finished:
        search.finished(source.finished)
    search.explore(source.model)
    if found.candidates and found.best is None and source.experiment:
        for name, model in narrower(source.path, source.experiment, console):
            search.explore(model, name)
    return found


def _written(order: Order, source: "Source", bench: "Bench", found: "Found", console: Console) -> dict[str, Any]:
    """Write what was found into the folder: edge.json, its page, and what else was asked for."""
    from fedkd.edge.c_array import write_c_array
    from sims.edge.emulated import emulate_best
    from sims.edge.result import write_result
    from sims.report.edge_page import write_edge_page

    if order.device:
        with console.status(f"running it on an emulated {order.device}"):
            emulate_best(found, bench, order.device)
    facts = describe()
    hardware = f"{facts['processor']}, {facts['cores']} cores"
    result = write_result(bench.folder, source, bench.budget, found, hardware)
    write_edge_page(bench.folder)
    if order.c_array and found.best:
        row, task = found.best.row, source.task
        write_c_array(bench.folder / row["path"], task.test.x[0], bench.folder, row["arena_bytes"], task.classes)
    return result


def _introduce(source: "Source", bench: "Bench", console: Console) -> None:
    from sims.edge.candidate import size_of

    size = size_of(source.model)
    console.print(
        f"[bold]{source.path}[/] on [bold]{source.task.name}[/]: {100 * bench.float_accuracy:.1f} % in Keras,"
        f" {size.parameters:,} parameters, {size.macs:,} multiplications",
        highlight=False,
    )
    if size.uncounted and bench.budget.macs is not None:
        names = ", ".join(size.uncounted)
        console.print(f"[yellow]warning:[/] no file can meet macs: the multiplications of {names} can't be counted")
    if not len(source.calibration):
        console.print("no calibration rows: int8 only by training that sees it; otherwise float16")
