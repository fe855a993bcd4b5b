"""The server: runs a federation over Flower and writes the run's folder."""

import logging
import time

from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp

from fedkd import runtime
from fedkd.calibration import calibration_rows, without_examples
from fedkd.experiment import experiment_of
from fedkd.finishing import check
from fedkd.models.inspect import logits_model
from fedkd.tensors import Weights
from server.device import to_device
from server.results import summarise
from server.run_folder import RunFolder, run_path
from server.strategy import FedKD, Record

log = logging.getLogger("fedkd.server")

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train, finish, convert and measure; what is left is the folder ``out``."""
    runtime.configure()
    options = context.run_config
    experiment = experiment_of(options)
    calibration_rows(experiment)  # may be a file that breaks a rule
    for why in without_examples(experiment, check(experiment)).values():
        log.warning("no file: %s", why)
    out = run_path(options.get("out"), experiment.config)
    folder = RunFolder.create(out, experiment.config, bool(options.get("overwrite", False)))
    history: list[Record] = []
    trained: list[Weights] = []

    def on_round(record: Record, shared: Weights) -> None:
        history.append(record)
        folder.append(record)
        if record["round"] == experiment.config.rounds:
            trained.append(shared)

    strategy, started = FedKD(experiment, on_round), time.monotonic()
    initial = ArrayRecord(strategy.state.shared)
    strategy.start(grid, initial, experiment.config.total_rounds, experiment.config.guard.deadline)
    seconds = time.monotonic() - started
    summary = summarise(experiment, out.name, str(options.get("engine", "flwr")), history, trained[0], seconds)
    folder.write_summary(summary | {"edge": []})  # first without: converters fail in more ways than one can list
    if not experiment.shares:
        return
    logits_model(experiment.shared_model, trained[0]).save(out / "student.keras")
    folder.write_summary(summary | {"edge": to_device(experiment, strategy.state, out)})
