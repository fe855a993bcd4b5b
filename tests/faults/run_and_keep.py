"""``python -m tests.faults.run_and_keep FOLDER``: start a run, or go on with it, and keep what it needs to go on.

A process of its own, to be killed. What a run removes at its end stays here, to be compared.
"""

import sys
from pathlib import Path

from rich.console import Console

import sims.run
from fedkd.results.run_folder import RunFolder, is_run

# Error feedback on both sides, partial participation, finishing rounds.
SETTINGS = {
    "task": "tests.tiny:task",
    "method": "fedkd_plus",
    "clients": 6,
    "rounds": 40,
    "fraction": 0.6,
    "edge.finish_rounds": 8,
    "edge.precisions": "none",
}


def main(folder: Path) -> None:
    RunFolder.finish = lambda _: None
    sims.run._forget_clients = lambda _: None
    quiet = Console(quiet=True)
    if is_run(folder):
        sims.run.resume(folder, "local", quiet, trust=True)
    else:
        sims.run.run(SETTINGS, "local", folder, True, False, quiet)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
