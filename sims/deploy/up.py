"""A run on a federation of this machine that is there for it alone: started, looked after, stopped."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import Console

from fedkd.base.errors import InputError, RunError, StoppedError
from fedkd.config.config import Config, Scalar
from fedkd.config.finish import rounds_in_words
from fedkd.config.settings import check_settings, to_settings
from fedkd.config.trust import trust_option
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.node_experiment import check_said
from fedkd.protocol.resolve import experiment_of
from fedkd.results.folder_lock import alone
from fedkd.results.resuming import resumable
from fedkd.results.run_folder import RunFolder, is_run, run_path
from sims.deploy.local import NODES, LocalFederation
from sims.deploy.waiting import Waiting
from sims.introduction import say_promise
from sims.run import absolute, forget_states, how_far, taken, write_partition
from sims.signals import interruptible


def up(
    settings: Mapping[str, Scalar],
    nodes: int,
    out: Path | None,
    overwrite: bool,
    console: Console,
    own: Path | None = None,
) -> Path:
    """Run an experiment on a federation of this machine and write the run's folder.

    Args:
        settings: Dotted keys, see ``fedkd.config.settings``.
        nodes: Number of SuperNodes, which is that of the clients.
        out: Folder of the run; ``runs/TASK-METHOD-SEED`` where None.
        overwrite: Replace the folder of an earlier run.
        console: Where to show progress.
        own: What ``fedkd split`` wrote: the nodes' examples where settings leave dealing to nobody.

    Returns:
        The folder.

    Raises:
        InputError: A setting or a file breaks a rule; nothing was started then.
        RunError: The run failed; logs stay and are named.
        StoppedError: Somebody stopped the run; ``resume`` goes on with it.
        KeyboardInterrupt: Stopped by the user; ``resume`` goes on with it.
    """
    experiment = experiment_of(absolute(_with_clients(check_settings(settings), nodes)))
    config = experiment.config
    check_said(experiment)
    if not experiment.rows:
        _check_own(own, config.clients)
    folder = run_path(out, config).absolute()
    console.print(rounds_in_words(config), highlight=False)
    say_promise(experiment, console)
    with _work() as work, _interrupted(folder, config):
        with taken(folder, config, overwrite):
            federation = _started(work, experiment, console)
        with _stopping(federation, experiment, folder):
            _keep_nodes(work, folder)
            federation.deal(None if experiment.rows else own)
            _drive(federation, folder, console)
    forget_states(folder)  # the federation is gone, and with it what the run could be prolonged with
    return folder


def resume(
    folder: Path, nodes: int, console: Console, rounds: int | None = None, from_round: int = 0, trust: bool = False
) -> Path:
    """Go on with a run that stopped, on a new federation whose nodes have the state of those before.

    Args:
        folder: Of the run.
        nodes: Number of SuperNodes, which is that of the clients.
        console: Where to show progress.
        rounds: How many of training the run should have, None for as many as it had.
        from_round: Go on after this round instead, one of those that are kept, and forget the later ones.
        trust: Whether code that the folder's configuration names may run.

    Returns:
        The folder.

    Raises:
        InputError: It isn't the folder of such a run, or another process runs it, or it has finished, or its
            configuration names code.
        RunError, StoppedError, KeyboardInterrupt: See ``up``.
    """
    folder = folder.absolute()
    settings = resumable(folder, rounds, from_round, trust)
    experiment = experiment_of(absolute(_with_clients(settings, nodes)))
    config, begun = experiment.config, any(RunFolder(folder).states.glob("*"))
    if not (folder / NODES).is_dir() and (begun or not experiment.rows):
        raise InputError(
            f"{folder}: the nodes' states aren't here: `fedkd run --resume` goes on with simulations,"
            " `fedkd deploy run --resume` with runs on other machines"
        )
    console.print(rounds_in_words(config), highlight=False)
    with _work() as work, _interrupted(folder, config):
        with alone(folder):
            federation = _started(work, experiment, console)
        with _stopping(federation, experiment, folder):
            _keep_nodes(work, folder)
            if experiment.rows:
                federation.deal()
            _drive(federation, folder, console, from_round)
    forget_states(folder)
    return folder


def _started(work: Path, experiment: Experiment, console: Console) -> LocalFederation:
    """A federation that is up but for its nodes, or nothing left of it."""
    federation = LocalFederation(work, experiment)
    try:
        with console.status(f"starting a SuperLink and {experiment.config.clients} SuperNodes"):
            federation.start_server()
    except BaseException:
        federation.processes.stop()
        raise
    return federation


@contextlib.contextmanager
def _stopping(federation: LocalFederation, experiment: Experiment, folder: Path) -> Iterator[None]:
    """Have all processes end with the body, however that ends."""
    try:
        yield
    finally:
        federation.processes.stop()
        write_partition(experiment, folder)


def _keep_nodes(work: Path, folder: Path) -> None:
    """Have the nodes keep their examples and state in the run's folder, with which the run can go on."""
    (folder / NODES).mkdir(mode=0o700, exist_ok=True)
    (work / NODES).symlink_to(folder / NODES)


def _drive(federation: LocalFederation, folder: Path, console: Console, from_round: int = 0) -> None:
    from sims.progress import watch

    config, history = federation.config, folder / "history.jsonl"
    options: dict[str, Scalar] = {"engine": "deployment", "resume": True, "from_round": from_round}  # of no rounds yet
    federation.start_nodes()
    waiting = Waiting(federation.deployed, history, console)
    run = federation.submit({**to_settings(config), "out": str(folder), **options})
    with watch(history, config.total_rounds, console, config.device_files):
        federation.wait(run, folder, waiting.heard)


def _check_own(own: Path | None, nodes: int) -> None:
    if own is None:
        raise InputError(
            "partition.kind must be iid, dirichlet, shards or natural with --local, which deals the data, or --config"
            " the deploy.toml of a `fedkd split`, whose files the nodes take"
        )
    for number in range(nodes):
        if not (file := own / str(number) / "data.npz").is_file():
            raise InputError(f"{file}: no such file; `fedkd split` writes one for each node")


def _with_clients(settings: Mapping[str, Scalar], nodes: int) -> dict[str, Scalar]:
    asked = settings.get("clients", nodes)
    if nodes < 1 or asked != nodes:
        raise InputError(f"--local must be the number of clients, at least 1; got {nodes} and clients = {asked}")
    return {**settings, "clients": nodes}


@contextlib.contextmanager
def _work() -> Iterator[Path]:
    """A folder that goes when the body ends; where a run failed, its logs stay."""
    work = Path(tempfile.mkdtemp(prefix="fedkd-deploy-"))
    gone = [work]
    try:
        yield work
    except StoppedError:
        raise
    except RunError:
        gone = [work / "deployment", work / "state"]
        (work / NODES).unlink(missing_ok=True)
        raise
    finally:
        for folder in gone:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _interrupted(folder: Path, config: Config) -> Iterator[None]:
    """Say how far a run came that was stopped, and how it goes on."""
    again = f"`fedkd deploy up --local {config.clients} --out {folder} --resume{trust_option(to_settings(config))}`"
    try:
        with interruptible():
            yield
    except (KeyboardInterrupt, StoppedError) as stop:
        far = how_far(folder, config.total_rounds) + (f"; {again} goes on" if is_run(folder) else "")
        raise type(stop)(f"{stop} {far}".strip()) from None
