"""Laws of a simulation whose process is killed."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.run_and_keep import SETTINGS
from tests.test_resume import everything

ROOT = Path(__file__).parents[2]
KILLS = 20
ROUNDS = SETTINGS["rounds"] + SETTINGS["edge.finish_rounds"]


def started(folder):
    command = [sys.executable, "-m", "tests.faults.run_and_keep", str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def ends(process):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]


def rounds(folder):
    history = folder / "history.jsonl"
    return history.read_bytes().count(b"\n") if history.exists() else 0


def wait_until(process, condition):
    end = time.monotonic() + 120
    while process.poll() is None and not condition() and time.monotonic() < end:
        time.sleep(0.005)


@pytest.mark.faults
def test_twenty_kills_at_random_instants_change_no_bit_of_any_state(tmp_path, reached):
    """Most fall in a round or between two, which take a tenth of a second; some while it starts."""
    ends(started(tmp_path / "whole"))
    rng, folder, killed_at = random.Random(0), tmp_path / "killed", []
    for kill in range(KILLS):
        process, before = started(folder), rounds(folder)
        if kill % 5:
            wanted = min(before + rng.randint(1, 2), ROUNDS - 1)
            wait_until(process, lambda wanted=wanted: rounds(folder) >= wanted)
            time.sleep(rng.uniform(0, 0.1))
        else:
            ends_at, most = time.monotonic() + rng.uniform(0, 10), min(before + 2, ROUNDS - 1)
            wait_until(process, lambda at=ends_at, most=most: time.monotonic() >= at or rounds(folder) >= most)
        assert process.poll() is None, process.stderr.read()[-3000:]
        process.kill()
        process.communicate()
        killed_at.append(rounds(folder))
    assert len(set(killed_at)) > KILLS / 2
    ends(started(folder))
    assert everything(folder) == everything(tmp_path / "whole")
    reached(f"killed after rounds, of {ROUNDS}", str(killed_at))
