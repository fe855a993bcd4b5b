"""A search from its arguments to its folder."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from fedkd.base import runtime
from fedkd.base.errors import InputError, NotFiniteError
from fedkd.edge.budget import Budget, check_drop
from fedkd.edge.runtimes import RUNTIMES
from fedkd.edge.search import Variant
from fedkd.edge.tflm import MOST_ARENA, TFLM
from fedkd.results import search as results
from fedkd.results.search import write_search
from fedkd.tasks.task import Task
from sims.bench.machine import describe
from sims.edge.place import check_place
from sims.terminal import warn

if TYPE_CHECKING:
    from sims.edge.candidate import Bench
    from sims.edge.found import Found
    from sims.edge.kept import Kept
    from sims.edge.source import Source

_LOOKED_AT = 256  # test examples on which a layer that gives nothing but 0 is dead


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
        device: To be emulated with the chosen file, one of ``fedkd.edge.runtimes.EMULATED``; empty for none.
        trust: Whether code that a run's configuration names, or that a model holds, may run.
        resume: Go on with the search that was cut off.
        modules: Python modules that register layers of the model.
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
    trust: bool = False
    resume: bool = False
    modules: Sequence[str] = ()

    @property
    def limits(self) -> Budget:
        """The budget with what the other wishes imply: source for a firmware takes a file that runs there."""
        firmware = self.c_array and self.budget.arena is None
        return replace(self.budget, arena=MOST_ARENA) if firmware else self.budget


def run_search(order: Order, console: Console) -> results.Search:
    """Search the device file that meets a budget, and write all that were tried.

    Args:
        order: What is asked.
        console: Where to show progress.

    Returns:
        What edge.json holds.

    Raises:
        InputError: An argument breaks a rule, or no file could be made at all; nothing was written then.
        KeyboardInterrupt: Stopped by the user; where something was measured it can go on.
    """
    _check(order)
    with console.status("starting TensorFlow and reading the model"):
        runtime.configure()
        from sims.edge.folder import appearing
        from sims.edge.inputs import inputs_of
        from sims.edge.source import open_source

        given = order.task, order.data, order.calibration, order.seed, order.trust, order.modules
        source = open_source(order.path, *given)
    check_drop(order.limits, source.task.objective.metrics[0])
    with appearing(order.out, order.overwrite, order.resume, inputs_of(source, order.limits, order.seed)) as kept:
        bench = _bench(source, order.limits, kept.files)
        try:
            found = _search(source, bench, kept, console)
        except KeyboardInterrupt:
            again = "; the same command with --resume goes on from there" if kept.begun else ""
            raise KeyboardInterrupt(f"while searching{again}") from None
        if not found.candidates:
            recipe, why = found.failed[0]
            raise InputError(f"{order.path}: no file of it could be made: {recipe}: {why}")
        return _written(order, source, bench, found, console)


def _check(order: Order) -> None:
    """Raise InputError on what can be seen to be wrong before TensorFlow starts."""
    check_place(order.out, order.overwrite, order.resume)
    for wanted in (RUNTIMES[name] for name in order.limits.runtimes):
        if not wanted.installed():
            need = " and --c-array need" if wanted is TFLM else " needs"
            raise InputError(f"{wanted.line} in the budget{need} {wanted.label}: {wanted.hint}")
    if order.device:
        from sims.edge.emulated import check_device

        check_device(order.device)


def _bench(source: "Source", budget: Budget, folder: Path) -> "Bench":
    from sims.edge.candidate import Bench, outputs

    test, objective = source.task.test, source.task.objective
    try:
        reference = objective.metrics[0].of(outputs(source.model, test.x), test.y)
    except NotFiniteError as error:
        raise InputError(
            f"{source.path}: {error}; train it with a smaller learning rate, or on inputs of a smaller range"
        ) from None
    return Bench(folder, source.stem, test.x, test.y, budget, objective, reference, source.four_bits)


def _search(source: "Source", bench: "Bench", kept: "Kept", console: Console) -> "Found":
    """Explore the model and what a run's finishing rounds left, and narrower students where nothing else will do."""
    from sims.edge.found import Found
    from sims.edge.narrower import narrower
    from sims.edge.progress import SearchProgress
    from sims.edge.search import Search
    from sims.edge.workshop import Workshop

    first = bench.stage("student" if source.experiment else "model", bench.trained(Variant(), source.model))
    found = Found(stages=[*source.stages, first])
    progress = SearchProgress(console, bench.metric, found)
    search = Search(Workshop(bench, source.tune, found, kept, progress), source.calibration)
    _introduce(source, bench, console)
    model, base = (source.in_words, "used words") if source.in_words else (source.model, "")
    search.expect(model, source.finished, base)
    with progress.shown():
        if source.finished:
            search.finished(source.finished)
        search.explore(model, base)
        if found.candidates and found.best(bench.metric) is None and source.experiment:
            for name, model in narrower(source.path, source.experiment, kept, progress):
                search.expect(model, None, name)
                search.explore(model, name)
    return found


def _constants(task: Task) -> dict[str, dict[str, Sequence[float]]]:
    """What a firmware needs beside the file, to feed it with rows as measured and to read its answers."""
    found: dict[str, dict[str, Sequence[float]]] = {}
    if task.inputs:
        purpose = "A row as it was measured goes in as (value - g_feature_mean) / g_feature_scale, feature by feature."
        found[purpose] = {"g_feature_mean": task.inputs.mean, "g_feature_scale": task.inputs.scale}
    if units := task.objective.units:
        purpose = "What is predicted is output * g_target_scale + g_target_offset."
        found[purpose] = {"g_target_scale": units["scale"], "g_target_offset": units["offset"]}
    return found


def _written(order: Order, source: "Source", bench: "Bench", found: "Found", console: Console) -> results.Search:
    """Write what was found into the folder: edge.json, its page, and what else was asked for."""
    from fedkd.edge.c_array import write_c_array
    from sims.edge.emulated import emulate_best
    from sims.edge.result import result_of
    from sims.report.edge_page import write_edge_page

    if order.device:
        with console.status(f"running it on an emulated {order.device}"):
            emulate_best(found, bench, order.device)
    facts = describe()
    hardware = f"{facts['processor']}, {facts['cores']} cores"
    result = result_of(source, bench, found, hardware)
    write_search(bench.folder, result)
    write_edge_page(bench.folder)
    if order.c_array and (best := found.best(bench.metric)):
        file, task = best.file, source.task
        names = task.classes[-source.model.output.shape[-1] :]  # one unit tells of the second of two classes
        path, row, constants = bench.folder / str(file.path), task.test.x[0], _constants(task)
        write_c_array(path, row, bench.folder, file.arena_bytes, names, constants)
    return result


def _introduce(source: "Source", bench: "Bench", console: Console) -> None:
    from sims.edge.candidate import size_of
    from sims.edge.dead import dead_layers

    size = size_of(source.model)
    said = (
        f": {bench.metric.text(bench.reference)} in Keras, {size.parameters:,} parameters, {size.macs:,}"
        " multiplications"
    )
    names = (str(source.path), "bold"), " on ", (source.task.name, "bold")
    console.print(Text.assemble(*names, said), highlight=False)
    if size.uncounted and bench.budget.macs is not None:
        uncounted = ", ".join(size.uncounted)
        warn(console, f"no file can meet macs: the multiplications of {uncounted} can't be counted")
    if found := dead_layers(source.model, source.task.test.x[:_LOOKED_AT]):
        advice = "take it out, or train the model again from other weights or with a lower learning rate"
        warn(console, f"dead layer {', '.join(map(repr, found))} gives nothing but 0; {advice}")
    if not len(source.calibration):
        console.print("no calibration rows: int8 only by training that sees it; otherwise float16")
