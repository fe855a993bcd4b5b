"""One run from settings to a folder with models, figures and a report."""

import importlib.util
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console

from fedkd.base import runtime
from fedkd.base.errors import InputError
from fedkd.base.task_name import absolute_task
from fedkd.config.config import Config, Scalar
from fedkd.config.settings import check_settings, to_settings
from fedkd.config.trust import trust_option
from fedkd.protocol.calibration import calibration_rows
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.resolve import experiment_of, hold, resolve
from fedkd.results.folder_lock import reserved
from fedkd.results.partition import Partition
from fedkd.results.resuming import resumable
from fedkd.results.run_folder import FINAL_CHECKPOINT, RunFolder, is_run, run_path
from fedkd.tasks.registry import OBJECT, checked_task
from fedkd.tasks.task import Task
from sims.introduction import introduce
from sims.track.trackers import followed, opened

if TYPE_CHECKING:
    from sims.engines import Engine

# Read by Flower when it is imported: no usage statistics, no look for updates, no warnings about accelerators.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
}


def run(
    settings: Mapping[str, Scalar],
    engine: str,
    out: Path | None,
    overwrite: bool,
    keep_clients: bool,
    console: Console,
    task: Task | None = None,
    track: Sequence[str] = (),
) -> Path:
    """Run an experiment and write its folder.

    Args:
        settings: Dotted keys, see ``fedkd.config.settings``.
        engine: ``local`` or ``ray``.
        out: Folder of the run; ``runs/TASK-METHOD-SEED`` where None.
        overwrite: Replace the folder of an earlier run.
        keep_clients: Keep each client's teacher and optimiser state in the folder, as ``clients/``.
        console: Where to show progress.
        task: An object in the place of the task that settings name; the engine must be ``local`` then.
        track: Names of trackers that log the run, see ``sims.track.trackers``.

    Returns:
        The folder.

    Raises:
        InputError: A setting or a file breaks a rule; nothing was written then.
        KeyboardInterrupt: Stopped by the user; ``resume`` goes on with it.
    """
    _check_engine(engine)
    trackers = opened(track)
    experiment = _experiment(absolute(check_settings(settings)), task, engine)
    folder = run_path(out, experiment.config).absolute()
    if not experiment.rows:
        raise InputError(
            "partition.kind must be iid, dirichlet, shards or natural: nodes with data are for `fedkd deploy`"
        )
    with taken(folder, experiment.config, overwrite):
        _prepare(experiment, console)
    storage = _storage(folder, keep_clients or engine == "ray")
    with followed(folder, trackers, experiment.config, console):
        _drive(experiment, {"engine": engine, "resume": True}, folder, storage, console)  # of no rounds yet
    if not (keep_clients or experiment.config.prolongable):
        _forget_clients(folder)
    return folder


@contextmanager
def taken(folder: Path, config: Config, overwrite: bool) -> Iterator[None]:
    """Take a run's folder while the run is prepared; where that goes well it is that of a run of no rounds yet.

    Raises:
        InputError: See ``fedkd.results.folder_lock.reserved``.
    """
    again = f"`fedkd run --resume {folder}{trust_option(to_settings(config))}`"
    with reserved(folder, overwrite, "a run", is_run, f", or {again} where it stopped"):
        yield
        if not overwrite:
            RunFolder(folder).write_config(config)
    if overwrite:
        RunFolder.create(folder, config, True)


def resume(
    folder: Path,
    engine: str,
    console: Console,
    rounds: int | None = None,
    from_round: int = 0,
    trust: bool = False,
    track: Sequence[str] = (),
) -> Path:
    """Go on with a run that stopped, after the last round that is on disk, to the end it would have had.

    Args:
        folder: Of the run. Where it holds ``clients/`` these stay, as with ``keep_clients``.
        engine: ``local`` or ``ray``; ``local`` can go on with what ``ray`` began.
        console: Where to show progress.
        rounds: How many of training the run should have, None for as many as it had. One that has finished goes on,
            too, where no finishing rounds made another model of the shared one.
        from_round: Go on after this round instead, one of those that are kept, and forget the later ones.
        trust: Whether code that the folder's configuration names may run.
        track: Names of trackers, which go on with their logs, see ``sims.track.trackers``.

    Returns:
        The folder.

    Raises:
        InputError: It isn't the folder of a run, or the run has finished, or can't be had with those rounds, or its
            configuration names code.
        KeyboardInterrupt: Stopped by the user; it can go on again.
    """
    _check_engine(engine)
    trackers = opened(track)
    folder = folder.absolute()
    experiment = experiment_of(absolute(resumable(folder, rounds, from_round, trust)))
    _prepare(experiment, console)
    keep, pooled = (folder / "clients").is_dir(), any(folder.glob("clients.state*"))
    if any(RunFolder(folder).states.glob("*")) and not (keep or pooled):
        raise InputError(
            f"{folder}: the clients' states aren't here; `fedkd deploy up --resume` goes on with what that began,"
            " `fedkd deploy run --resume` with runs on other machines"
        )
    if pooled and engine == "ray":
        raise InputError("engine must be local, got 'ray': this run keeps all clients in one file, clients.state")
    keep = keep or engine == "ray"
    options: dict[str, Scalar] = {"engine": engine, "resume": True, "from_round": from_round}
    with followed(folder, trackers, experiment.config, console):
        _drive(experiment, options, folder, _storage(folder, keep), console)
    if not (keep or experiment.config.prolongable):
        _forget_clients(folder)
    return folder


def _experiment(settings: Mapping[str, Scalar], task: Task | None, engine: str) -> Experiment:
    """The experiment of some settings, perhaps with a task that is an object of this process."""
    if task is None:
        return experiment_of(settings)
    if engine != "local":
        raise InputError(f"engine must be local for a task that is an object, got {engine!r}: other processes lack it")
    checked_task(task)
    experiment = resolve({**settings, "task": f"{OBJECT}{task.name}"}, lambda *_: task)
    hold(experiment)
    return experiment


def _check_engine(engine: str) -> None:
    if engine not in (names := _engines()):
        raise InputError(f"engine must be one of {', '.join(names)}, got {engine!r}")
    if engine == "ray" and importlib.util.find_spec("ray") is None:
        raise InputError("engine must be local, got 'ray': Ray isn't installed; pip install 'fedkd[ray]'")


def _engines() -> "Mapping[str, Engine]":
    """All engines by their names; imports Flower, which reads the environment then."""
    os.environ.update(_QUIET)
    from sims.engines import ENGINES

    return ENGINES


def _prepare(experiment: Experiment, console: Console) -> None:
    """Start TensorFlow, build the models and say what will run."""
    with console.status("starting TensorFlow and building the models"):
        runtime.configure()
        calibration_rows(experiment)  # may be a file that breaks a rule
        introduce(experiment, console)


def _drive(
    experiment: Experiment, options: Mapping[str, Scalar], folder: Path, storage: Mapping[str, Scalar], console: Console
) -> None:
    """Have an engine run the two apps, and show the rounds as they end."""
    from sims.progress import watch

    config = experiment.config
    run_config = {**to_settings(config), "experiment": hold(experiment), "out": str(folder), **options}
    with watch(folder / "history.jsonl", config.total_rounds, console, config.device_files):
        try:
            _engines()[str(options["engine"])](config, run_config, storage)
        except KeyboardInterrupt:
            option = trust_option(to_settings(config))
            said = f"{how_far(folder, config.total_rounds)}; `fedkd run --resume {folder}{option}` goes on"
            raise KeyboardInterrupt(said) from None
        finally:
            write_partition(experiment, folder)


def how_far(folder: Path, rounds: int) -> str:
    """The round of a run that ended last, in words."""
    history = folder / "history.jsonl"
    done = len(history.read_text(encoding="utf-8").splitlines()) if history.exists() else 0
    return f"after round {done} of {rounds}"


def absolute(settings: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """Make the paths of data and weights absolute: clients may run in another folder."""
    found = dict(settings)
    if "task" in found:
        found["task"] = absolute_task(str(found["task"]))
    files = ("data", "model.pretrained", "model.teacher_weights", "model.student_weights", "edge.calibration_file")
    for key in files:
        if path := str(found.get(key, "")):
            found[key] = str(Path(path).absolute())
    if str(unlabelled := found.get("train.unlabelled", "")).endswith(".npz"):
        found["train.unlabelled"] = str(Path(str(unlabelled)).absolute())
    return found


def _storage(folder: Path, several: bool) -> dict[str, Scalar]:
    """Where the clients keep their state: a folder each where they stay or Ray's processes write, else one file."""
    return {"state-dir": str(folder / "clients")} if several else {"state-file": str(folder / "clients.state")}


def forget_states(folder: Path) -> None:
    """Remove all from which a finished run could be prolonged."""
    _forget_clients(folder)
    shutil.rmtree(folder / FINAL_CHECKPOINT, ignore_errors=True)


def _forget_clients(folder: Path) -> None:
    """Remove what clients keep between rounds; a run that stopped keeps it, to go on with."""
    for file in folder.glob("clients.state*"):  # more for finishing rounds, and for other kinds of clients
        file.unlink()
    for name in ("clients", "nodes"):  # the latter by `fedkd deploy up`
        shutil.rmtree(folder / name, ignore_errors=True)


def write_partition(experiment: Experiment, folder: Path) -> None:
    """Record who holds what, for the report; simulations may know, servers may not."""
    if not folder.exists() or not experiment.rows:
        return
    groups, names = experiment.task.objective.strata(experiment.task.train.y)
    counts = [np.bincount(groups[rows], minlength=len(names)).tolist() for rows in experiment.rows]
    with suppress(OSError):  # what stopped the run, a full disk perhaps, is said by itself
        RunFolder(folder).write_partition(Partition(names, counts))
