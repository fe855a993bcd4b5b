"""A power cut at every write: a model that runs, every time, and never a wrong one."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from clients.device import durable
from tests.device.models import release

ROOT = Path(__file__).parents[2]
MEMORY = Path("/dev/shm")


@pytest.fixture
def trials(place, newest):
    """Break updates from version 2 to 3 off, in memory where there is a disk of that; see ``tests.device.faults``."""
    newest.publish(release(3, (5, 0, 0)))

    def run(*arguments):
        with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as work:
            shutil.copytree(place, work, symlinks=True, dirs_exist_ok=True)
            command = [sys.executable, "-m", "tests.device.faults", work, *arguments]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_an_update_killed_at_any_change_to_the_disk_leaves_a_model_that_runs(trials):
    assert "wrong: []" in trials("kill", "here", "1")


def test_an_update_on_a_disk_that_is_full_from_any_change_on_leaves_a_model_that_runs(trials):
    assert "wrong: []" in trials("full", "here", "2")


@pytest.mark.faults
@pytest.mark.parametrize("kind, where", [("kill", "child"), ("twice", "here"), ("full", "here")])
def test_an_update_that_is_broken_off_leaves_a_model_that_runs(trials, kind, where):
    assert "wrong: []" in trials(kind, where, "1")


def test_a_file_is_on_the_disk_before_its_name_is(tmp_path, monkeypatch):
    steps = []
    for name in ("write", "fsync", "replace"):
        call = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, call=call: (steps.append(name), call(*args))[1])
    durable.replace(tmp_path / "pointer.json", b"new")
    assert steps == ["write", "fsync", "replace", "fsync"]
    assert (tmp_path / "pointer.json").read_bytes() == b"new"
