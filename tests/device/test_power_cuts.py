"""A power cut at every write: a model that runs, every time, and never a wrong one."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.device.models import release

ROOT = Path(__file__).parents[2]


@pytest.fixture
def trials(place, newest):
    """Break updates from version 2 to 3 off; see ``tests.device.faults``."""
    newest.publish(release(3, (5, 0, 0)))

    def run(*arguments):
        command = [sys.executable, "-m", "tests.device.faults", str(place), *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.parametrize("kind", ["kill", "full"])
def test_an_update_that_is_broken_off_at_any_change_leaves_a_model_that_runs(trials, kind):
    assert "wrong: []" in trials(kind, "here", "1")


@pytest.mark.faults
@pytest.mark.parametrize("kind", ["kill", "twice", "full"])
def test_an_update_that_is_broken_off_leaves_a_model_that_runs_in_processes_of_its_own(trials, kind):
    assert "wrong: []" in trials(kind, "child", "1")
