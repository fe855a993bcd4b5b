"""``fedkd bench engine``: client updates a second through the whole path, against the machine's own floor."""

import itertools
import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fedkd.base.errors import RunError
from fedkd.config.settings import to_settings
from fedkd.models.inspect import get_weights
from fedkd.protocol.experiment import Experiment
from sims.bench.measure import Measured, batch_order
from sims.engines import run_local


def whole_path(held: Experiment) -> Measured:
    """Measure ServerApp, grid and ClientApp as ``fedkd run`` runs them."""
    with tempfile.TemporaryDirectory(prefix="fedkd-bench-") as folder:
        out = Path(folder) / "run"
        history = run_whole_path(held, held.config.clients, out)
        model = keras.models.load_model(out / "student.keras")
    ends = [line["elapsed"] for line in history]
    return Measured([after - before for before, after in itertools.pairwise(ends)], get_weights(model))


def run_whole_path(held: Experiment, participants: int, out: Path) -> list[dict[str, Any]]:
    """Run in the folder ``out``, where ``clients.state`` is the clients' state; returns the records of all rounds.

    Raises:
        RunError: Fewer than ``participants`` clients took part in a round.
    """
    run_local(held.config, {**to_settings(held.config), "out": str(out)}, {"state-file": str(out / "clients.state")})
    history = [json.loads(line) for line in (out / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    check_complete(history, participants)
    return history


def check_complete(history: Sequence[Mapping[str, Any]], participants: int) -> None:
    """Check that nobody dropped out, which would make rounds faster.

    Raises:
        RunError: Naming the round and why.
    """
    for line in history:
        if len(line["participants"]) != participants:
            why = line["refused"][0]["why"] if line["refused"] else "too few were asked"
            raise RunError(f"round {line['round']}: {len(line['participants'])} of {participants} clients: {why}")


def write_work(held: Experiment, path: Path) -> None:
    """Write the work as a file for peers: initial weights, every client's examples, the order of batches."""
    config, clients = held.config, range(held.config.clients)
    data = [held.client_data(i)[0] for i in clients]
    rows = [[batch_order(held, round_, i) for i in clients] for round_ in range(1, config.rounds + 1)]
    weights = {f"weight_{i}": w for i, w in enumerate(held.initial_shared())}
    np.savez(
        path,
        x=np.stack([d.x for d in data]),
        y=np.stack([d.y for d in data]),
        rows=np.array(rows, np.int32),
        learning_rate=np.float32(config.train.student_lr),
        **weights,  # type: ignore[arg-type]
    )
