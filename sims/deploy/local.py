"""A whole federation on this machine: SuperLink, SuperNodes, their keys, data and state, and runs by `flwr run`."""

import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from fedkd.base.errors import RunError, StoppedError
from fedkd.config.config import Scalar
from fedkd.protocol.experiment import Experiment
from fedkd.tasks.own import write_own
from sims.deploy import flower
from sims.deploy.app_folder import write_app
from sims.deploy.deployed import Deployed
from sims.deploy.folder import Deployment, node_name, write_deployment
from sims.deploy.processes import Processes, free_ports, last_message, wait_for_port

SUPERLINK, SUPEREXEC = "superlink", "superexec"
LOOPBACK = "127.0.0.1"
# Folder of the nodes' examples and state, a folder each, in that of the federation.
NODES = "nodes"


class LocalFederation:
    """A SuperLink and its SuperNodes as processes of this machine, on ports that no other machine reaches.

    Args:
        work: Folder for keys, data, state and logs.
        experiment: What they train on, see ``deal``.
        host: The one address of this machine that the SuperLink listens on: whoever reaches it may start runs.
        prefixes: For each node the words before its command that put it behind a link of its own.
    """

    def __init__(
        self, work: Path, experiment: Experiment, host: str = LOOPBACK, prefixes: Sequence[Sequence[str]] = ()
    ) -> None:
        config = experiment.config
        self.work, self.config, self._experiment, self._host = work, config, experiment, host
        self._prefixes = prefixes or [()] * config.clients
        self.port, *self.node_ports = free_ports(1 + config.clients)
        self.doors = [
            self.port
        ] * config.clients  # ports that nodes connect to; a proxy that counts bytes replaces them
        control = f"{host}:{self.port}"
        self.deployment = Deployment(work / "deployment", config.clients, (host,), config.task, control)
        self.processes = Processes(work / "logs")
        write_deployment(self.deployment, False)
        self.env = flower.environment(self.deployment.admin)

    def data(self, number: int) -> Path:
        """The file with a node's examples."""
        return self._folder(number) / "data.npz"

    @property
    def _test(self) -> Path:
        """The task's test set, for nodes that have none of it."""
        return self.work / "test.npz"

    def _engine(self, number: int) -> str:
        """What trains on a node."""
        return self.config.train_of(self._experiment.kind(number)).engine

    def _folder(self, number: int) -> Path:
        return self.work / NODES / str(number)

    def start(self) -> None:
        """Start everything, with the experiment's partitions as the nodes' examples.

        Raises:
            RunError: A process ended, or the SuperLink doesn't answer.
        """
        self.start_server()
        self.deal()
        self.start_nodes()

    def start_server(self) -> None:
        """Start what takes runs, and register the nodes' keys.

        Raises:
            RunError: A process ended, or the SuperLink doesn't answer.
        """
        self.start_superlink()
        wait_for_port(self.port, self.processes, host=self._host)
        self._start(SUPEREXEC, self.deployment.superlink / "start-superexec.sh", self._link)
        numbers = range(self.config.clients)
        keys = {number: self.deployment.public_key(number) for number in numbers}
        self.deployed.remember_ids({number: str(flower.register(self.env, key)) for number, key in keys.items()})

    def deal(self, own: Path | None = None) -> None:
        """Give each node its examples, in a file of its own.

        Args:
            own: Folder with ``N/data.npz`` for node N, see ``fedkd split``; the experiment's partitions where None.
        """
        if "litert" in map(self._engine, range(self.config.clients)):  # others have the task's own
            write_own(self._test, self._experiment.task.test)
        for number in range(self.config.clients):
            file = self.data(number)
            file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            if own is None:
                write_own(file, self._experiment.dealt(number))
            else:
                shutil.copyfile(own / str(number) / file.name, file)

    def start_nodes(self) -> None:
        """Start a SuperNode for each client."""
        for number in range(self.config.clients):
            self.start_node(number)

    def start_superlink(self) -> None:
        """Start the SuperLink; it keeps what it knows in a file."""
        self._start(SUPERLINK, self.deployment.superlink / "start.sh", self._link)

    def start_node(self, number: int) -> None:
        """Start a SuperNode by its own start script."""
        values = {
            "FEDKD_SUPERLINK": f"{self._host}:{self.doors[number]}",
            "FEDKD_PORT": str(self.node_ports[number]),
            "FEDKD_STATE": str(self._folder(number)),
            "FEDKD_DATA": str(self.data(number)),
            "FEDKD_TASK": self.config.task,
            "FEDKD_TASK_DATA": self.config.data,
            "FEDKD_VOCABULARY": str(self.config.model.vocabulary),
            "FEDKD_ENGINE": self._engine(number),
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
