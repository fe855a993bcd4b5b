"""One run from settings to a folder with models, figures and a report."""

import importlib.util
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape

from fedkd import runtime
from fedkd.calibration import calibration_rows, without_examples
from fedkd.config import Scalar
from fedkd.errors import InputError
from fedkd.experiment import Experiment, experiment_of
from fedkd.files import check_free
from fedkd.settings import check_settings, to_settings
from server.run_folder import is_run, run_path

ENGINE_NAMES = ("local", "ray")

# Read by Flower when it is imported: no usage statistics, no look for updates, no warnings about accelerators.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
}


def run(
    settings: Mapping[str, Scalar], engine: str, out: Path | None, overwrite: bool, keep_clients: bool, console: Console
) -> Path:
    """Run an experiment and write its folder.

    Args:
        settings: Dotted keys, see ``fedkd.settings``.
        engine: ``local`` or ``ray``.
        out: Folder of the run; ``runs/TASK-METHOD-SEED`` where None.
        overwrite: Replace the folder of an earlier run.
        keep_clients: Keep each client's teacher and optimiser state in the folder, as ``clients/``.
        console: Where to show progress.

    Returns:
        The folder.

    Raises:
        InputError: A setting or a file breaks a rule; nothing was written then.
        KeyboardInterrupt: Stopped by the user; ``history.jsonl`` holds the rounds that were done.
    """
    if engine not in ENGINE_NAMES:
        raise InputError(f"engine must be one of {', '.join(ENGINE_NAMES)}, got {engine!r}")
    if engine == "ray" and importlib.util.find_spec("ray") is None:
        raise InputError("engine must be local, got 'ray': Ray isn't installed; pip install 'fedkd[ray]'")
    experiment = experiment_of(absolute(check_settings(settings)))
    config = experiment.config
    folder = run_path(out, config).absolute()
    check_free(folder, overwrite, "a run", is_run)
    with console.status("starting TensorFlow and building the models"):
        runtime.configure()
        calibration_rows(experiment)  # may be a file that breaks a rule
        _introduce(experiment, console)
        os.environ.update(_QUIET)
        from sims.engines import ENGINES
    if folder.exists():
        shutil.rmtree(folder)  # after all checks, and lest the progress bar show the rounds of the run before
    run_config = {**to_settings(config), "out": str(folder), "engine": engine, "overwrite": overwrite}
    with _storage(folder, engine, keep_clients) as storage, _watching(folder, config.total_rounds, console):
        try:
            ENGINES[engine](config, run_config, storage)
        except KeyboardInterrupt:
            raise KeyboardInterrupt(how_far(folder, config.total_rounds)) from None
        finally:
            write_partition(experiment, folder)
    return folder


def how_far(folder: Path, rounds: int) -> str:
    """Say after which round a run was stopped, and where it left what it had."""
    history = folder / "history.jsonl"
    done = len(history.read_text(encoding="utf-8").splitlines()) if history.exists() else 0
    return f"after round {done} of {rounds}; {history} holds what was reached"


def absolute(settings: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Make the paths of data and weights absolute: clients may run in another folder."""
    found = dict(settings)
    kind, _, place = str(found.get("task", "")).partition(":")
    if kind == "npz" or (kind == "hf" and Path(place.partition("#")[0]).is_dir()):
        found["task"] = f"{kind}:{Path(place).absolute()}"
    for key in ("data", "model.teacher_weights", "edge.calibration_file"):
        if path := str(found.get(key, "")):
            found[key] = str(Path(path).absolute())
    return found


def _introduce(experiment: Experiment, console: Console) -> None:
    from fedkd.finishing import check  # imports TensorFlow

    config, count = experiment.config, experiment.parameters
    sizes = [len(rows) for rows in experiment.rows]
    console.print(
        f"[bold]{config.method}[/] on [bold]{experiment.task.name}[/]: {config.clients} clients with {min(sizes)} to"
        f" {max(sizes)} examples; teacher {count['teacher']:,}, student {count['student']:,} parameters",
        highlight=False,
    )
    if config.model.student_init == "teacher_layers":
        taken, hidden = experiment.taken_layers()
        console.print(f"the student starts from the teacher's layers, {taken} of its {hidden}", highlight=False)
    for why in without_examples(experiment, check(experiment)).values():
        console.print("[yellow]warning:[/] no file:", escape(why), highlight=False)
    if count["student"] > count["teacher"]:
        console.print("[yellow]warning:[/] the student is larger than the teacher: FedKD saves bytes by the reverse")


@contextmanager
def _storage(folder: Path, engine: str, keep: bool) -> Iterator[dict[str, Scalar]]:
    """Where the clients keep their state: a file each where they stay or Ray's processes write, else one of all."""
    several, pool = folder / "clients", folder / "clients.state"
    try:
        yield {"state-dir": str(several)} if keep or engine == "ray" else {"state-file": str(pool)}
    finally:
        for file in folder.glob("clients.state*"):  # one more for finishing rounds
            file.unlink()
        if not keep:
            shutil.rmtree(several, ignore_errors=True)


@contextmanager
def _watching(folder: Path, rounds: int, console: Console) -> Iterator[None]:
    from sims.progress import watch

    with watch(folder / "history.jsonl", rounds, console):
        yield


def write_partition(experiment: Experiment, folder: Path) -> None:
    """Record who holds what, for the report; simulations may know, servers may not."""
    if not folder.exists():
        return
    classes, labels = experiment.task.classes, experiment.task.train.y
    counts = [np.bincount(labels[rows], minlength=len(classes)).tolist() for rows in experiment.rows]
    (folder / "partition.json").write_text(json.dumps({"classes": classes, "counts": counts}) + "\n", encoding="utf-8")
