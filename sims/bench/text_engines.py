"""Who does the work ``text``: this build, another one, and a loop by hand in torch, each in processes of its own."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from fedkd.base.encoder import read_encoder
from fedkd.base.errors import RunError
from fedkd.base.python import import_path, python
from fedkd.base.tensors import Weights
from fedkd.config.deciding import as_before
from fedkd.config.settings import to_settings
from fedkd.protocol.experiment import Experiment
from sims.bench.measure import Engine, Measured, batch_order
from sims.bench.peers import environments, run
from sims.bench.peers.environments import last_line

_PROGRAM = Path(__file__).with_name("whole_path.py")
_HERE = Path(__file__).parents[2]


def engines(against: Path | None, torch: Path | None) -> dict[str, Engine]:
    """Engines by their names.

    Args:
        against: Another checkout, or None.
        torch: The interpreter of torch's environment, or None.
    """
    found: dict[str, Engine] = {"fedkd": partial(of_build, _HERE)}
    if against is not None:
        found[f"fedkd in {against}"] = partial(of_build, against)
    if torch is not None:
        found[environments.TORCH_TEXT.name] = partial(of_torch, torch)
    return found


def of_build(source: Path, experiment: Experiment) -> Measured:
    """Run the whole path of a checkout's code, in a process of its own.

    Raises:
        RunError: It failed; says its last line.
    """
    settings = json.dumps(as_before(to_settings(experiment.config)))
    with tempfile.TemporaryDirectory(prefix="fedkd-bench-") as scratch:
        result = Path(scratch) / "result.npz"
        path = os.pathsep.join([str(source), import_path()])
        done = subprocess.run(
            python(str(_PROGRAM), settings, str(result)),
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            errors="replace",
        )
        if done.returncode:
            raise RunError(f"{source}: {last_line(done.stderr)}")
        with np.load(result) as file:
            figures = {"peak_mb": float(file["peak_bytes"]) / 1e6, "state_mb": float(file["state_bytes"]) / 1e6}
            return Measured(file["seconds"][1:].tolist(), run.weights_of(file), figures)


def of_torch(interpreter: Path, experiment: Experiment) -> Measured:
    """Run the loop by hand in torch.

    Raises:
        PeerError: It failed, or took too long.
    """
    with tempfile.TemporaryDirectory(prefix="fedkd-work-") as scratch:
        path = Path(scratch) / "work.npz"
        np.savez(path, **work_of(experiment))  # type: ignore[arg-type]
        result = run.measure(environments.TORCH_TEXT, interpreter, path)
    return Measured(result.seconds[1:].tolist(), result.weights)


def work_of(experiment: Experiment) -> Mapping[str, np.ndarray]:
    """What a loop by hand is given: all models' first weights, every client's texts and the order of its batches."""
    config, clients = experiment.config, range(experiment.config.clients)
    data = [experiment.client_data(i)[0] for i in clients]
    rows = [[batch_order(experiment, round_, i) for i in clients] for round_ in range(1, config.rounds + 1)]
    encoder, trainer = read_encoder(Path(config.model.pretrained)), experiment.local().trainer
    groups: dict[str, Weights] = {
        role: [np.asarray(w, np.float32) for w in model.get_weights()] for role, model in experiment.models.items()
    }
    groups["projection"] = trainer.initial_state().get("projection", [])
    arrays = {f"{group}_{i}": array for group, held in groups.items() for i, array in enumerate(held)}
    return {
        **arrays,
        "x": np.stack([d.x for d in data]),
        "y": np.stack([d.y for d in data]),
        "rows": np.array(rows, np.int32),
        "learning_rate": np.array(config.train.student_lr),
        "heads": np.array(encoder.heads),
        "epsilon": np.array(encoder.epsilon),
        "padding": np.array(encoder.padding),
        "frozen": np.array(bool(config.model.freeze)),
    }
