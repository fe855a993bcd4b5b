"""``fedkd bench engine``: client updates a second through the whole path, against the machine's own floor."""

import itertools
import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np

from fedkd.base.errors import RunError
from fedkd.config.settings import to_settings
from fedkd.models.inspect import get_weights
from fedkd.protocol.experiment import Experiment
from fedkd.results.round import Round
from fedkd.results.run_folder import RunFolder
from sims.bench.measure import Measured, batch_order
from sims.engines import run_local


def whole_path(experiment: Experiment) -> Measured:
    """Measure ServerApp, grid and ClientApp as ``fedkd run`` runs them."""
    with tempfile.TemporaryDirectory(prefix="fedkd-bench-") as folder:
        out = Path(folder) / "run"
        history = run_whole_path(experiment, experiment.config.clients, out)
        model = keras.models.load_model(out / "student.keras")
    ends = [row.elapsed or 0.0 for row in history]
    return Measured([after - before for before, after in itertools.pairwise(ends)], get_weights(model))


def run_whole_path(experiment: Experiment, participants: int, out: Path) -> tuple[Round, ...]:
    """Run in the folder ``out``, where ``clients.state`` is the clients' state; returns all rounds.

    Raises:
        RunError: Fewer than ``participants`` clients took part in a round.
    """
    options = {**to_settings(experiment.config), "out": str(out)}
    run_local(experiment.config, options, {"state-file": str(out / "clients.state")})
    history = RunFolder(out).history
    check_complete(history, participants)
    return history


def check_complete(history: Sequence[Round], participants: int) -> None:
    """Check that nobody dropped out, which would make rounds faster.

    Raises:
        RunError: Naming the round and why.
    """
    for row in history:
        if len(row.participants) != participants:
            why = row.refused[0]["why"] if row.refused else "too few were asked"
            raise RunError(f"round {row.number}: {len(row.participants)} of {participants} clients: {why}")


def write_work(experiment: Experiment, path: Path) -> None:
    """Write the work as a file for peers: initial weights, every client's examples, the order of batches."""
    config, clients = experiment.config, range(experiment.config.clients)
    data = [experiment.client_data(i)[0] for i in clients]
    rows = [[batch_order(experiment, round_, i) for i in clients] for round_ in range(1, config.rounds + 1)]
    weights = {f"weight_{i}": w for i, w in enumerate(experiment.initial_shared())}
    np.savez(
        path,
        x=np.stack([d.x for d in data]),
        y=np.stack([d.y for d in data]),
        rows=np.array(rows, np.int32),
        learning_rate=np.float32(config.train.student_lr),
        **weights,  # type: ignore[arg-type]
    )
