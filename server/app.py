"""The server: runs a federation over Flower and writes the run's folder."""

import logging
import secrets
from dataclasses import replace

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fedkd.base import runtime
from fedkd.base.errors import InputError
from fedkd.protocol.calibration import calibration_rows, without_examples
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.federation import new_server
from fedkd.protocol.finishing import check
from fedkd.protocol.node_experiment import check_said
from fedkd.protocol.resolve import experiment_of
from fedkd.results.folder_lock import alone
from fedkd.results.resuming import check_resumable
from fedkd.results.round import Round
from fedkd.results.run_folder import CHECKPOINT, RunFolder, run_path
from server.checkpoint import Checkpoint, RunProgress
from server.given import given_of
from server.nodes import PollingGrid, Simulation
from server.privacy import Keeper
from server.results import summarise, task_record
from server.resuming import check_spent_once, go_on
from server.strategy import FedKD

log = logging.getLogger("fedkd.server")

# Seconds in which the process of a run that was stopped ends: Flower leaves it some, and calls the run stopped at once.
_ENDING = 30.0

app = ServerApp()

# Engines whose clients have this machine's task, code and all.
SIMULATED = ("local", "ray")


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Train, finish, convert and measure; what is left is the folder ``out``."""
    runtime.configure()
    options = context.run_config
    experiment = experiment_of(options)
    calibration_rows(experiment)  # may be a file that breaks a rule
    engine = str(options.get("engine", "flwr"))
    promise = experiment.promise
    if engine not in SIMULATED:
        check_said(experiment)
        if promise:
            log.warning("%s", promise.warning or promise.in_words)
    for why in without_examples(experiment, check(experiment)).values():
        log.warning("no file: %s", why)
    out = run_path(options.get("out"), experiment.config)
    back = int(options.get("from_round", 0))
    if options.get("resume", False):
        check_resumable(out, experiment.config, back)
    elif back:
        raise InputError(f"from_round goes with resume: there is no run to go back in, got {back}")
    else:
        RunFolder.create(out, experiment.config, bool(options.get("overwrite", False)))
    with alone(out, _ENDING if engine == "deployment" else 0.0):
        if options.get("resume", False):
            check_resumable(out, experiment.config, back)  # who held the folder until now may have ended the run
        folder = RunFolder(out)
        keeper = Keeper(experiment, isinstance(grid, Simulation) or engine == "ray")
        progress = _begin(experiment, folder, back, keeper)
        _run(experiment, grid, folder, progress, engine, keeper)


def _run(
    experiment: Experiment, grid: Grid, folder: RunFolder, progress: RunProgress, engine: str, keeper: Keeper
) -> None:
    """Go through the rounds that are left, and make what is left of a run."""
    out = folder.path
    checkpoint = Checkpoint(out / CHECKPOINT, experiment.fingerprint, given_of(experiment))

    def on_round(ended: Round, progress: RunProgress) -> None:
        folder.append(ended)
        checkpoint.save(progress)

    nodes = grid if isinstance(grid, Simulation) else PollingGrid(grid)
    strategy = FedKD(experiment, progress, nodes, on_round, keeper)
    strategy.run()
    summary = summarise(experiment, out.name, engine, folder.history, strategy.trained)
    summary = replace(summary, privacy=keeper.record(experiment.config.total_rounds))
    folder.write_summary(summary)  # first without files: converters fail in more ways than one can list
    if experiment.config.ships:
        # These import TensorFlow, which ``runtime.configure`` comes before.
        from fedkd.models.inspect import logits_model
        from server.confused import confusion_of
        from server.device_files import to_device

        trained = experiment.parts(strategy.trained)[experiment.shown]
        logits_model(experiment.shared_model, trained).save(out / "student.keras")
        if confusion := confusion_of(experiment, strategy.state):
            folder.write_confusion(confusion)
        folder.write_summary(replace(summary, files=to_device(experiment, strategy.state, out)))
    folder.finish()


def _begin(experiment: Experiment, folder: RunFolder, from_round: int, keeper: Keeper) -> RunProgress:
    """Begin a run, or go on with it after its last round that is on disk, or the one to go back to."""
    if keeper.withholds:
        check_spent_once(experiment, folder)
    progress = go_on(experiment, folder, from_round) or RunProgress(new_server(experiment, secrets.token_hex(8)))
    folder.write_task(task_record(experiment))
    folder.keep(progress.state.round)
    return progress
