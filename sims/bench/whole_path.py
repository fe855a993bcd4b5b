"""The program that runs a build's whole path on a piece of work, in a process that does nothing else.

    python -m sims.bench.whole_path SETTINGS_JSON RESULT.npz

Imported from this checkout or from another one: it asks of a build what builds have long had.
"""

import itertools
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from fedkd.base import runtime
from fedkd.base.memory import peak_memory


def main(settings: str, result: str) -> None:
    """Run, and write seconds of each round but the first, the last weights, peak memory and the clients' states."""
    runtime.configure()
    import keras

    from fedkd.protocol.resolve import experiment_of
    from sims.bench.engine import run_whole_path

    experiment = experiment_of(json.loads(settings))
    with tempfile.TemporaryDirectory(prefix="fedkd-bench-") as folder:
        out = Path(folder) / "run"
        history = run_whole_path(experiment, experiment.config.clients, out)
        held = sum(path.stat().st_blocks * 512 for path in out.glob("clients.state*"))
        weights = keras.models.load_model(out / "student.keras").get_weights()
    ends = [row.elapsed or 0.0 for row in history]
    np.savez(
        result,
        seconds=[after - before for before, after in itertools.pairwise(ends)],
        peak_bytes=peak_memory(),
        state_bytes=held / experiment.config.clients,
        **{f"weight_{i}": weight for i, weight in enumerate(weights)},
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
