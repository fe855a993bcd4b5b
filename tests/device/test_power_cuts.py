"""A power cut at every write: a model that runs, every time, and never a wrong one."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from clients.device import durable
from clients.device.protocol.manifest import digest
from tests.device.hubs import fetched
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


def test_an_update_killed_at_every_second_change_to_the_disk_leaves_a_model_that_runs(trials):
    assert "wrong: []" in trials("kill", "here", "2")


def test_an_update_on_a_disk_that_is_full_from_every_fourth_change_on_leaves_a_model_that_runs(trials):
    assert "wrong: []" in trials("full", "here", "4")


@pytest.mark.faults
@pytest.mark.parametrize("kind, where", [("kill", "child"), ("twice", "here"), ("full", "here")])
def test_an_update_broken_off_at_any_change_leaves_a_model_that_runs(trials, kind, where, reached):
    said = trials(kind, where, "1")
    assert "wrong: []" in said
    reached(f"changes to a device's disk that an update was broken off at ({kind}, {where})", int(said.split()[0]))
    assert int(said.split()[0]) > 50


def test_a_model_is_named_once_all_of_it_is_on_the_disk(place, behind, newest, monkeypatch):
    """In this order: model and manifest, their folder's names, the folder's own place, and only then the pointer."""
    steps, whole, new = [], behind.folder.resolve(), digest(newest.read("default/manifest.json"))

    def short(path):
        return str(Path(path).resolve().relative_to(whole)).replace(new, "NAME")

    def record(name, paths):
        call = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args: (steps.append((name, *paths(*args))), call(*args))[1])

    record("fsync", lambda handle: [short(os.readlink(f"/proc/self/fd/{handle}"))])
    for name in ("rename", "replace"):
        record(name, lambda old, new: [short(old), short(new)])
    fetched(behind, newest)
    after = steps.index(("fsync", "metadata"))  # what TUF has seen comes first
    seen = {step[1] for step in steps[:after] if step[0] == "fsync"}
    assert seen >= {f"metadata/{role}.json" for role in ("timestamp", "snapshot", "targets")}
    adopting = [step for step in steps[after + 1 :] if not step[-1].startswith("metadata")]
    assert adopting == [
        ("fsync", "incoming/model.tflite"),
        ("replace", "download/manifest.json", "incoming/manifest.json"),
        ("fsync", "incoming/manifest.json"),
        ("fsync", "incoming"),
        ("rename", "incoming", "models/NAME"),
        ("fsync", "models"),
        ("fsync", "pointer.json.new"),
        ("replace", "pointer.json.new", "pointer.json"),
        ("fsync", "."),
    ]


def test_a_file_is_on_the_disk_before_its_name_is(tmp_path, monkeypatch):
    steps = []
    for name in ("write", "fsync", "replace"):
        call = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *args, name=name, call=call: (steps.append(name), call(*args))[1])
    durable.replace(tmp_path / "pointer.json", b"new")
    assert steps == ["write", "fsync", "replace", "fsync"]
    assert (tmp_path / "pointer.json").read_bytes() == b"new"
