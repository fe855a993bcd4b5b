"""Engines: what drives the two Flower apps. The apps are the protocol, so all engines end in the same bytes."""

import logging
import os
import tempfile
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp

import clients.app
import server.app
from fedkd import runtime
from fedkd.config import Config, Scalar
from sims.grid import LocalGrid

RunConfig = Mapping[str, Scalar]

# To be set before Flower starts Ray: no usage statistics, no look for updates, no warnings about accelerators.
_QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
}


def run_local(config: Config, run_config: RunConfig, state_dir: Path) -> None:
    """Run all clients in this process, on as many threads as ``config.threads`` says."""
    logging.getLogger("flwr").setLevel(logging.WARNING)
    nodes = [_context(i + 2, _node_config(i, config.clients, state_dir), run_config) for i in range(config.clients)]
    grid = LocalGrid(clients.app.app, nodes, config.threads or runtime.cores())
    server.app.app(grid, _context(1, {}, run_config))


def run_ray(config: Config, run_config: RunConfig, state_dir: Path) -> None:
    """Run the clients in Flower's simulation engine: processes of Ray, on several cores or a cluster."""
    os.environ.update(_QUIET)
    with warnings.catch_warnings(), tempfile.TemporaryDirectory(prefix="fedkd-ray-") as ray_folder:
        warnings.simplefilter("ignore")
        from flwr.simulation import run_simulation

        logging.getLogger("flwr").setLevel(logging.CRITICAL)
        start = {"num_cpus": runtime.cores(), "log_to_driver": False, "logging_level": "ERROR", "_temp_dir": ray_folder}
        backend = {"client_resources": {"num_cpus": 1, "num_gpus": 0.0}, "init_args": start}
        apps = _with_config(run_config, state_dir)
        run_simulation(*apps, num_supernodes=config.clients, backend_config=backend)  # type: ignore[arg-type]


ENGINES: dict[str, Callable[[Config, RunConfig, Path], None]] = {"local": run_local, "ray": run_ray}


def _with_config(run_config: RunConfig, state_dir: Path) -> tuple[ServerApp, ClientApp]:
    """Wrap the two apps so that they see a configuration, which Flower's Python API has no argument for."""
    settings, folder = dict(run_config), str(state_dir)
    server_app, client_app = ServerApp(), ClientApp()

    @server_app.main()
    def main(grid: Grid, context: Context) -> None:
        server.app.app(grid, _context(context.node_id, {}, settings))

    def call(message: Message, context: Context) -> Message:
        node_config = {**context.node_config, "state-dir": folder}
        return clients.app.app(message, _context(context.node_id, node_config, settings))

    client_app.train()(call)
    client_app.query()(call)
    return server_app, client_app


def _node_config(partition: int, count: int, state_dir: Path) -> dict[str, Scalar]:
    return {"partition-id": partition, "num-partitions": count, "state-dir": str(state_dir)}


def _context(node: int, node_config: Mapping[str, Scalar], run_config: RunConfig) -> Context:
    return Context(1, node, dict(node_config), RecordDict(), dict(run_config))
