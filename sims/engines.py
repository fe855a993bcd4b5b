"""Engines: what drives the two Flower apps. The apps are the protocol, so all engines end in the same bytes."""

import logging
import tempfile
import warnings
from collections.abc import Callable, Mapping

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

import clients.node.app
import server.app
from fedkd.base import runtime
from fedkd.config.config import Config, Scalar
from fedkd.protocol.resolve import experiment_of
from sims.local_grid import LocalGrid

RunConfig = Mapping[str, Scalar]
# Keys of a node's configuration that say where clients keep their state, see ``clients.node.app``.
Storage = Mapping[str, Scalar]

_FIRST_NODE = 2


def run_local(config: Config, run_config: RunConfig, storage: Storage) -> None:
    """Run all clients in this process, on as many threads as the experiment says."""
    logging.getLogger("flwr").setLevel(logging.WARNING)

    def context(node: int) -> Context:
        partition = {"partition-id": node - _FIRST_NODE, "num-partitions": config.clients}
        return _context(node, {**partition, **storage}, run_config)

    partitions = {i: i + _FIRST_NODE for i in range(config.clients)}
    grid = LocalGrid(clients.node.app.app, partitions, context, experiment_of(run_config).threads)
    server.app.app(grid, _context(1, {}, run_config))


def run_ray(config: Config, run_config: RunConfig, storage: Storage) -> None:
    """Run the clients in Flower's simulation engine: processes of Ray, on several cores or a cluster."""
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="fedkd-ray-") as ray_folder:
        warnings.simplefilter("ignore")
        from flwr.simulation import run_simulation

        logging.getLogger("flwr").setLevel(logging.CRITICAL)
        start = {"num_cpus": runtime.cores(), "log_to_driver": False, "logging_level": "ERROR", "_temp_dir": ray_folder}
        backend = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": start}
        apps = _with_config(run_config, storage)
        run_simulation(*apps, num_supernodes=config.clients, backend_config=backend)  # type: ignore[arg-type]


Engine = Callable[[Config, RunConfig, Storage], None]
ENGINES: Mapping[str, Engine] = {"local": run_local, "ray": run_ray}


def _with_config(run_config: RunConfig, storage: Storage) -> tuple[ServerApp, ClientApp]:
    """Wrap the two apps so that they see a configuration, which Flower's Python API has no argument for."""
    settings = dict(run_config)
    server_app, client_app = ServerApp(), ClientApp()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        server.app.app(grid, _context(context.node_id, {}, settings))

    def call(message: Message, context: Context) -> Message:
        node_config = {**context.node_config, **storage}
        return clients.node.app.app(message, _context(context.node_id, node_config, settings))

    client_app.train()(call)
    client_app.query()(call)
    return server_app, client_app


def _context(node: int, node_config: Mapping[str, Scalar], run_config: RunConfig) -> Context:
    return Context(1, node, dict(node_config), RecordDict(), dict(run_config))
