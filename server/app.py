"""The server: runs a federation over Flower and writes the run's folder."""

import logging
import secrets
from collections.abc import Mapping
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedkd import runtime
from fedkd.calibration import calibration_rows, without_examples
from fedkd.config import Scalar
from fedkd.errors import InputError
from fedkd.experiment import Experiment, experiment_of
from fedkd.federation import new_server
from fedkd.finishing import check
from fedkd.models.inspect import logits_model
from server.checkpoint import Checkpoint, Progress
from server.device import to_device
from server.results import summarise
from server.run_folder import CHECKPOINT, RunFolder, check_resumable, run_path
from server.strategy import FedKD, Record

log = logging.getLogger("fedkd.server")

# Seconds to wait for clients to come, and for the answers of a round.
TIMEOUT = 3600.0

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
    folder, progress = _begin(experiment, out, options)
    checkpoint = Checkpoint(out / CHECKPOINT, experiment.fingerprint)

    def on_round(record: Record, ended: Progress) -> None:
        folder.append(record)
        checkpoint.save(ended)

    strategy = FedKD(experiment, progress, on_round, TIMEOUT)
    strategy.run(grid)
    engine = str(options.get("engine", "flwr"))
    summary = summarise(experiment, out.name, engine, folder.history(), strategy.trained)
    folder.write_summary(summary | {"edge": []})  # first without: converters fail in more ways than one can list
    if experiment.shares:
        logits_model(experiment.shared_model, strategy.trained).save(out / "student.keras")
        folder.write_summary(summary | {"edge": to_device(experiment, strategy.state, out)})
    folder.finish()


def _begin(experiment: Experiment, out: Path, options: Mapping[str, Scalar]) -> tuple[RunFolder, Progress]:
    """Make the run's folder, or go on in the one of a run that stopped, after its last round that is on disk."""
    if options.get("resume", False):
        check_resumable(out, experiment.config)
        if progress := Checkpoint(out / CHECKPOINT, experiment.fingerprint).load():
            log.warning("going on after round %d of %d", progress.state.round, experiment.config.total_rounds)
            return RunFolder.open(out, progress.state.round), progress
        if any(out.glob(f"{CHECKPOINT}/*")):
            raise InputError(f"{out / CHECKPOINT}: no checkpoint is whole, this run can't go on; run it again")
    overwrite = bool(options.get("overwrite", False) or options.get("resume", False))
    folder = RunFolder.create(out, experiment.config, overwrite)
    return folder, Progress(new_server(experiment, secrets.token_hex(8)))
