"""The server: runs a federation over Flower and writes the run's folder."""

import logging
import secrets
from dataclasses import replace
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedkd.base import runtime
from fedkd.base.errors import InputError
from fedkd.protocol.calibration import calibration_rows, without_examples
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.federation import new_server
from fedkd.protocol.finishing import check
from fedkd.protocol.resolve import experiment_of
from fedkd.results.folder_lock import alone
from fedkd.results.resuming import check_resumable
from fedkd.results.round import Round
from fedkd.results.run_folder import CHECKPOINT, RunFolder, run_path
from server.checkpoint import Checkpoint, RunProgress
from server.results import summarise, task_record
from server.strategy import FedKD

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
    if options.get("resume", False):
        check_resumable(out, experiment.config)
    else:
        RunFolder.create(out, experiment.config, bool(options.get("overwrite", False)))
    with alone(out):
        _run(experiment, grid, out, str(options.get("engine", "flwr")))


def _run(experiment: Experiment, grid: Grid, out: Path, engine: str) -> None:
    """Go through the rounds that are left, and make what is left of a run."""
    folder, progress = _begin(experiment, out)
    checkpoint = Checkpoint(out / CHECKPOINT, experiment.fingerprint)

    def on_round(ended: Round, progress: RunProgress) -> None:
        folder.append(ended)
        checkpoint.save(progress)

    strategy = FedKD(experiment, progress, grid, on_round)
    strategy.run()
    summary = summarise(experiment, out.name, engine, folder.history, strategy.trained)
    folder.write_summary(summary)  # first without files: converters fail in more ways than one can list
    if experiment.shares:
        # These import TensorFlow, which ``runtime.configure`` comes before.
        from fedkd.models.inspect import logits_model
        from server.device_files import to_device

        logits_model(experiment.shared_model, strategy.trained).save(out / "student.keras")
        folder.write_summary(replace(summary, files=to_device(experiment, strategy.state, out)))
    folder.finish()


def _begin(experiment: Experiment, out: Path) -> tuple[RunFolder, RunProgress]:
    """Begin a run, or go on with it after its last round that is on disk."""
    progress = Checkpoint(out / CHECKPOINT, experiment.fingerprint).load()
    if progress:
        log.warning("going on after round %d of %d", progress.state.round, experiment.config.total_rounds)
    elif any(out.glob(f"{CHECKPOINT}/*.safetensors")):
        raise InputError(f"{out / CHECKPOINT}: no checkpoint is whole, this run can't go on; run it again")
    progress = progress or RunProgress(new_server(experiment, secrets.token_hex(8)))
    folder = RunFolder(out)
    folder.write_task(task_record(experiment))
    folder.keep(progress.state.round)
    return folder, progress
