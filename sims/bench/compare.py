"""``fedkd bench engine``: this project's whole path, a loop by hand and other simulators on the same work."""

import statistics
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fedkd.protocol.experiment import Experiment
from fedkd.protocol.resolve import experiment_of
from sims.bench import text
from sims.bench.alone import training_alone
from sims.bench.bare import bare_loop
from sims.bench.engine import whole_path, write_work
from sims.bench.measure import Engine, Measured, SkippedError, compare, make_experiment
from sims.bench.peers import environments, run
from sims.bench.report import Row, report
from sims.bench.text_engines import engines as text_engines

# Seconds a peer may take to start, and one more for each client and round: the slowest does several a second.
_PATIENCE = 300

OURS: dict[str, Engine] = {
    "fedkd": whole_path,
    "its training alone": training_alone,
    "tensorflow loop by hand": bare_loop,
}


def engine_report(
    clients: Sequence[int], works: Sequence[str], rounds: int, repeats: int, folder: Path | None
) -> dict[str, Any]:
    """Measure all engines on all works.

    Args:
        clients: Numbers of clients.
        works: ``fedavg``, ``fedkd``.
        rounds: Rounds of each run; the first isn't counted.
        repeats: Runs of each engine.
        folder: Folder of the peers' environments; no peers where None.
    """
    peers, skipped = _peers(folder) if folder and "fedavg" in works else ({}, [])
    rows: list[Row] = []
    rates: list[float] = []
    for work in works:
        for count in clients:
            experiment = make_experiment(work, count, rounds)
            chosen = {**OURS, **(peers if work == "fedavg" else {})}
            measured, matmul = compare(work, experiment, chosen, repeats)
            rows += measured
            rates += matmul
    return report("engine", statistics.median(rates), [*rows, *skipped])


def text_report(
    pretrained: Path | None, frozen: bool, against: Path | None, folder: Path | None, rounds: int, repeats: int
) -> dict[str, Any]:
    """Measure builds and torch on the work ``text``.

    Args:
        pretrained: The encoder's folder; one of random weights is made where None.
        frozen: Whether the tables of words and positions stay as they are.
        against: Another checkout of fedkd; none where None.
        folder: Folder of the peers' environments; no torch where None.
        rounds: Rounds of each run; the first isn't counted.
        repeats: Runs of each engine.
    """
    torch, skipped = None, list[Row]()
    if folder:
        try:
            torch = environments.environment(environments.TORCH_TEXT, folder)
        except environments.PeerError as error:
            skipped.append({"engine": environments.TORCH_TEXT.name, "work": "text", "skipped": str(error)})
    with tempfile.TemporaryDirectory(prefix="fedkd-text-") as work:
        experiment = experiment_of({**text.write(Path(work), pretrained, frozen, against is None), "rounds": rounds})
        measured, rates = compare("text", experiment, text_engines(against, torch), repeats, text.TOLERANCE)
    return report("engine", statistics.median(rates), [*measured, *skipped])


def _peers(folder: Path) -> tuple[dict[str, Engine], list[Row]]:
    """Peers that can be installed, and a row for each that can't."""
    engines: dict[str, Engine] = {}
    skipped: list[Row] = []
    for peer in environments.PEERS:
        try:
            engines[peer.name] = partial(_peer, peer, environments.environment(peer, folder))
        except environments.PeerError as error:
            skipped.append({"engine": peer.name, "work": "fedavg", "skipped": str(error)})
    return engines, skipped


def _peer(peer: environments.Peer, python: Path, experiment: Experiment) -> Measured:
    with tempfile.TemporaryDirectory(prefix="fedkd-work-") as scratch:
        work = Path(scratch) / "work.npz"
        write_work(experiment, work)
        try:
            updates = experiment.config.clients * experiment.config.rounds
            result = run.measure(peer, python, work, timeout=_PATIENCE + updates)
        except environments.PeerError as error:
            raise SkippedError(str(error)) from None
    return Measured(result.seconds[1:].tolist(), result.weights)
