"""A search from its arguments to its folder."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from fedkd import runtime
from fedkd.edge.budget import Budget
from fedkd.errors import InputError
from sims.bench.machine import describe
from sims.edge.folder import appearing, check_free

if TYPE_CHECKING:
    from fedkd.tasks.task import Task
    from sims.edge.search import Found
    from sims.edge.source import Source


def run_search(
    path: Path,
    budget: Budget,
    out: Path,
    overwrite: bool,
    console: Console,
    task: str = "",
    data: str = "",
    calibration: Path | None = None,
    seed: int = 0,
) -> tuple["Task", dict[str, Any]]:
    """Search the device file that meets a budget, and write all that were tried.

    Args:
        path: A run's folder, or a .keras file.
        budget: To be met.
        out: Folder to write.
        overwrite: Replace the folder of an earlier search.
        console: Where to show progress.
        task: Its name; may be empty for a run.
        data: File of the task's data, where it needs one.
        calibration: An .npz with the array ``x`` for the ranges of integers.
        seed: Of all that is drawn; the same seed leads to the same files.

    Returns:
        The task, and what edge.json holds.

    Raises:
        InputError: An argument breaks a rule; nothing was written then.
    """
    check_free(out, overwrite)
    if budget.micro and importlib.util.find_spec("tflite_micro") is None:
        raise InputError("budget: arena needs TensorFlow Lite Micro: pip install 'fedkd[tflm]' (Linux on x86-64 only)")
    with console.status("starting TensorFlow and reading the model"):
        runtime.configure()
        from sims.edge.result import write_result
        from sims.edge.source import open_source

        source = open_source(path, task, data, calibration, seed)
    facts = describe()
    with appearing(out) as folder:
        found = _search(source, budget, folder, console)
        result = write_result(folder, source, budget, found, f"{facts['processor']}, {facts['cores']} cores")
    return source.task, result


def _search(source: "Source", budget: Budget, folder: Path, console: Console) -> "Found":
    """Explore the model, and narrower students of its run where nothing else will do."""
    from sims.edge.candidate import Bench, accuracy_of
    from sims.edge.narrower import narrower
    from sims.edge.search import Found, Search
    from sims.edge.source import Stage

    test = source.task.test
    first = Stage("student" if source.experiment else "model", accuracy_of(source.model, test.x, test.y))
    bench = Bench(folder, source.stem, test.x, test.y, budget, first.accuracy)
    found = Found(stages=[*source.stages, first])
    _introduce(source, first.accuracy, budget, console)
    Search(bench, source.calibration, source.tune, found, console).explore(source.model)
    if found.best is None and source.experiment:
        for name, model in narrower(source.path, source.experiment, console):
            found.stages.append(Stage(name, accuracy_of(model, test.x, test.y)))
            Search(bench, source.calibration, source.tune, found, console).explore(model, name)
    return found


def _introduce(source: "Source", accuracy: float, budget: Budget, console: Console) -> None:
    from fedkd.edge.cost import cost

    size = cost(source.model)
    console.print(
        f"[bold]{source.path}[/] on [bold]{source.task.name}[/]: {100 * accuracy:.1f} % in Keras,"
        f" {size.parameters:,} parameters, {size.macs:,} multiplications",
        highlight=False,
    )
    if size.uncounted and budget.macs is not None:
        console.print(f"[yellow]warning:[/] the multiplications of {', '.join(size.uncounted)} aren't counted")
    if not len(source.calibration):
        console.print("no calibration rows: int8 only by training that sees it; otherwise float16")
