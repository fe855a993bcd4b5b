"""A whole federation on this machine: SuperLink, SuperNodes, their keys and data, and a run through `flwr run`."""

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from fedkd.base.errors import InputError, RunError, StoppedError
from fedkd.config.config import Scalar
from fedkd.config.finish import rounds_in_words
from fedkd.config.settings import check_settings, to_settings
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.resolve import experiment_of
from fedkd.results.run_folder import run_path
from fedkd.tasks.own import write_own
from sims.deploy import flower
from sims.deploy.app_folder import write_app
from sims.deploy.deployed import Deployed
from sims.deploy.folder import Deployment, node_name, write_deployment
from sims.deploy.processes import Processes, free_ports, last_message, wait_for_port
from sims.deploy.waiting import Waiting
from sims.run import absolute, forget_states, how_far, taken, write_partition
from sims.signals import interruptible

SUPERLINK, SUPEREXEC = "superlink", "superexec"
LOOPBACK = "127.0.0.1"


class LocalFederation:
    """A SuperLink and its SuperNodes as processes of this machine, on ports that no other machine reaches.

    Args:
        work: Folder for keys, data, state and logs.
        experiment: Whose partitions the nodes get, each in a file of its own.
        host: The one address of this machine that the SuperLink listens on: whoever reaches it may start runs.
        prefixes: For each node the words before its command that put it behind a link of its own.
    """

    def __init__(
        self, work: Path, experiment: Experiment, host: str = LOOPBACK, prefixes: Sequence[Sequence[str]] = ()
    ) -> None:
        config = experiment.config
        self.work, self.config, self._host = work, config, host
        self._prefixes = prefixes or [()] * config.clients
        self.port, *self.node_ports = free_ports(1 + config.clients)
        self.doors = [
            self.port
        ] * config.clients  # ports that nodes connect to; a proxy that counts bytes replaces them
        control = f"{host}:{self.port}"
        self.deployment = Deployment(work / "deployment", config.clients, (host,), config.task, control)
        self.processes = Processes(work / "logs")
        write_deployment(self.deployment, False)
        for number, rows in enumerate(experiment.rows):
            write_own(self.data(number), experiment.task.train.take(rows))
        self._test = work / "test.npz"
        write_own(self._test, experiment.task.test)
        self.env = flower.environment(self.deployment.admin)

    def data(self, number: int) -> Path:
        """The file with a node's examples."""
        return self.deployment.node(number) / "data.npz"

    def start(self) -> None:
        """Start everything and register the nodes' keys.

        Raises:
            RunError: A process ended, or the SuperLink doesn't answer.
        """
        self.start_superlink()
        wait_for_port(self.port, self.processes, host=self._host)
        self._start(SUPEREXEC, self.deployment.superlink / "start-superexec.sh", self._link)
        ids: dict[int, str] = {}
        for number in range(self.config.clients):
            ids[number] = str(flower.register(self.env, self.deployment.public_key(number)))
            self.start_node(number)
        self.deployed.remember_ids(ids)

    def start_superlink(self) -> None:
        """Start the SuperLink; it keeps what it knows in a file."""
        self._start(SUPERLINK, self.deployment.superlink / "start.sh", self._link)

    def start_node(self, number: int) -> None:
        """Start a SuperNode by its own start script."""
        values = {
            "FEDKD_SUPERLINK": f"{self._host}:{self.doors[number]}",
            "FEDKD_PORT": str(self.node_ports[number]),
            "FEDKD_STATE": str(self.work / "state" / str(number)),
            "FEDKD_DATA": str(self.data(number)),
            "FEDKD_TASK": self.config.task,
            "FEDKD_TASK_DATA": self.config.data,
            "FEDKD_VOCABULARY": str(self.config.model.vocabulary),
            "FEDKD_ENGINE": self.config.train.engine,
            "FEDKD_TEST": str(self._test),
        }
        self._start(node_name(number), self.deployment.node(number) / "start.sh", values, self._prefixes[number])

    def submit(self, run_config: Mapping[str, Scalar]) -> str:
        """Start a run of both apps by `flwr run` and return its id."""
        with tempfile.TemporaryDirectory(dir=self.work) as folder:
            write_app(Path(folder), run_config)
            return flower.start(self.env, Path(folder))

    def wait(self, run: str, folder: Path, heard: Callable[[str], None] | None = None) -> None:
        """Wait for the end of a run that writes a folder.

        Args:
            run: Its id.
            folder: The one that it writes.
            heard: See ``sims.deploy.flower.wait_until_finished``.

        Raises:
            RunError: It failed, or a process ended.
            StoppedError: Somebody stopped it.
        """

        def look() -> bool:
            self.processes.check()
            return (folder / "summary.json").exists()

        state = flower.wait_until_finished(self.env, run, look, heard)
        if state == "finished:stopped":
            raise StoppedError("stopped by `flwr stop`")
        if state != "finished:completed":
            log = self.processes.log("serverapp")
            log.write_text(flower.log_of(self.env, run), encoding="utf-8")
            raise RunError(f"the run ended as {state}: {last_message(log)} (log: {log})")

    @property
    def deployed(self) -> Deployed:
        """Its deployment as it was written."""
        return Deployed.read(self.deployment.folder)

    @property
    def _link(self) -> dict[str, str]:
        state = str(self.work / "state" / "superlink")
        return {"FEDKD_BIND": self._host, "FEDKD_PORT": str(self.port), "FEDKD_STATE": state}

    def _start(self, name: str, script: Path, values: Mapping[str, str], prefix: Sequence[str] = ()) -> None:
        self.processes.start(name, [*prefix, "/bin/sh", str(script)], {**self.env, **values})


def up(settings: Mapping[str, Scalar], nodes: int, out: Path | None, overwrite: bool, console: Console) -> Path:
    """Run an experiment on a federation of this machine and write the run's folder.

    Args:
        settings: Dotted keys, see ``fedkd.config.settings``.
        nodes: Number of SuperNodes, which is that of the clients.
        out: Folder of the run; ``runs/TASK-METHOD-SEED`` where None.
        overwrite: Replace the folder of an earlier run.
        console: Where to show progress.

    Returns:
        The folder.

    Raises:
        InputError: A setting or a file breaks a rule; nothing was started then.
        RunError: The run failed; logs stay and are named.
        KeyboardInterrupt: Stopped by the user; ``history.jsonl`` holds the rounds that were done.
    """
    experiment = experiment_of(absolute(_with_clients(check_settings(settings), nodes)))
    if not experiment.rows:
        raise InputError("partition.kind must be iid, dirichlet, shards or natural with --local, which deals the data")
    config = experiment.config
    folder = run_path(out, config).absolute()
    console.print(rounds_in_words(config), highlight=False)
    run_config = {**to_settings(config), "out": str(folder), "engine": "deployment", "resume": True}  # of no rounds yet
    with _work() as work, _interrupted(folder, config.total_rounds):
        with taken(folder, config, overwrite):
            federation = _started(work, experiment, console)
        try:
            _watch(federation, federation.submit(run_config), folder, console)
            forget_states(folder)  # the nodes' go with them
        finally:
            federation.processes.stop()
            write_partition(experiment, folder)
    return folder


def _started(work: Path, experiment: Experiment, console: Console) -> LocalFederation:
    """A federation that is up, or nothing left of it."""
    federation = LocalFederation(work, experiment)
    try:
        with console.status(f"starting a SuperLink and {experiment.config.clients} SuperNodes"):
            federation.start()
    except BaseException:
        federation.processes.stop()
        raise
    return federation


def _watch(federation: LocalFederation, run: str, folder: Path, console: Console) -> None:
    from sims.progress import watch

    config = federation.config
    waiting = Waiting(federation.deployed, folder / "history.jsonl", console)
    with watch(folder / "history.jsonl", config.total_rounds, console, config.device_files):
        federation.wait(run, folder, waiting.heard)


def _with_clients(settings: Mapping[str, Scalar], nodes: int) -> dict[str, Scalar]:
    asked = settings.get("clients", nodes)
    if nodes < 1 or asked != nodes:
        raise InputError(f"--local must be the number of clients, at least 1; got {nodes} and clients = {asked}")
    return {**settings, "clients": nodes}


@contextlib.contextmanager
def _work() -> Iterator[Path]:
    """A folder that goes where all went well, and stays with its logs where something failed."""
    work = Path(tempfile.mkdtemp(prefix="fedkd-deploy-"))
    try:
        yield work
    except RunError:
        for secret in (work / "deployment", work / "state"):
            shutil.rmtree(secret, ignore_errors=True)
        raise
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def _interrupted(folder: Path, rounds: int) -> Iterator[None]:
    """Say how far a run came that was stopped."""
    try:
        with interruptible():
            yield
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"{how_far(folder, rounds)}; {folder} holds what was reached") from None
