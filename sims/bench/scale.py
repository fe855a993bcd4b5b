"""``fedkd bench scale``: 100 000 clients of which 100 train in a round, against 100 clients in all.

Each of the two runs in a process of its own, whose peak of resident memory is read when it ends.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from fedkd.base import runtime
from fedkd.base.errors import RunError
from fedkd.base.memory import peak_memory
from fedkd.base.python import import_path, python
from fedkd.protocol.resolve import experiment_of
from sims.bench import work
from sims.bench.engine import run_whole_path
from sims.bench.report import Row

_CLIENTS = {"few": work.PARTICIPANTS, "crowd": 1000 * work.PARTICIPANTS}


def rows(rate: float, rounds: int) -> list[Row]:
    """Run both and compare; the first round of each, which compiles, isn't counted.

    Args:
        rate: Rate of the machine's matrix products, in 10⁹ operations a second.
        rounds: Rounds of each run.
    """
    few, crowd = (_in_process(name, rounds) for name in _CLIENTS)
    for row in (few, crowd):
        row["of_few"] = row["seconds_per_round"] / few["seconds_per_round"]
        row["of_floor"] = work.PARTICIPANTS * work.client_mflop("fedkd") / 1e3 / rate / row["seconds_per_round"]
    return [few, crowd]


def _in_process(name: str, rounds: int) -> dict[str, Any]:
    command = python("-m", "sims.bench.scale", name, str(rounds))
    environment = {**os.environ, "PYTHONPATH": import_path()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunError(f"bench scale: {name} failed: {(done.stderr.strip() or 'no message').splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def _run(name: str, rounds: int) -> dict[str, Any]:
    clients = _CLIENTS[name]
    settings = {**work.SCALE, "task": f"sims.bench.work:{name}", "clients": clients, "rounds": rounds}
    experiment = experiment_of({**settings, "fraction": work.PARTICIPANTS / clients})
    with tempfile.TemporaryDirectory(prefix="fedkd-bench-") as folder:
        out = Path(folder) / "run"
        history = run_whole_path(experiment, work.PARTICIPANTS, out)
        pool = (out / "clients.state").stat()
    disk, touched = pool.st_blocks * 512, len({client for row in history for client in row.participants})
    return {
        "clients": clients,
        "participants": work.PARTICIPANTS,
        "seconds_per_round": statistics.median(row.seconds or 0.0 for row in history[1:]),
        "resident_mib": peak_memory() / 2**20,
        "data_mib": experiment.task.train.x.nbytes / 2**20,
        "teacher_mib": 4 * experiment.parameters["teacher"] / 2**20,
        "touched": touched,
        "disk_mib": disk / 2**20,
        "disk_mib_per_touched": disk / touched / 2**20,
        "file_gib_if_full": pool.st_size / 2**30,
    }


if __name__ == "__main__":
    runtime.configure()
    print(json.dumps(_run(sys.argv[1], int(sys.argv[2]))))
