"""Laws of `fedkd deploy up`: what stops it leaves nothing running, and a run that goes on to the same bits."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from sims.run import run
from tests.faults.waiting import wait_for

pytestmark = pytest.mark.faults

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "task": "digits", "rounds": 2, "partition.examples": 150, "train.epochs": 1, "model.teacher_width": 8,
    "edge.sparsity": 0.0, "edge.precisions": "none",
}  # fmt: skip


def up(folder, *options):
    """Start the command; its processes can be told by ``marked``."""
    command = [
        sys.executable, "-c", "from sims.cli import main; main()", "deploy", "up", "--local", "2", "--out",
        str(folder / "run"), *options,
    ]  # fmt: skip
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(folder), "FEDKD_STARTED_FOR": str(folder)}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def marked(folder):
    """Processes that were started for a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
        except OSError:
            continue
        found += [int(process.name)] if f"FEDKD_STARTED_FOR={folder}".encode() in environment else []
    return found


def hashes(folder):
    path = folder / "history.jsonl"
    return [json.loads(line)["shared_sha256"] for line in path.open()] if path.exists() else []


def test_a_federation_that_is_interrupted_leaves_nothing_running(tmp_path):
    started = up(tmp_path, "--rounds", "1")
    wait_for(lambda: list(tmp_path.glob("fedkd-deploy-*/logs/node-1.log")), 120)
    started.terminate()  # as Ctrl-C does; that may be ignored where tests run in the background
    said, _ = started.communicate(timeout=60)
    assert started.returncode == 130, said
    assert "interrupted after round 0" in said
    assert not marked(tmp_path)
    assert not list(tmp_path.glob("fedkd-deploy-*"))


@pytest.mark.parametrize("power_cut", [False, True])
def test_a_federation_that_is_stopped_after_a_round_goes_on_to_the_same_bits(tmp_path, power_cut):
    options = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]
    started = up(tmp_path, *options)
    wait_for(lambda: hashes(tmp_path / "run"), 300)
    if power_cut:
        for pid in marked(tmp_path):
            os.kill(pid, signal.SIGKILL)
        started.communicate(timeout=60)
    else:
        started.terminate()
        again = f"`fedkd deploy up --local 2 --out {tmp_path / 'run'} --resume` goes on"
        assert f"interrupted after round 1 of 2; {again}" in started.communicate(timeout=60)[0]
    assert (tmp_path / "run/nodes/1").is_dir()
    resumed = up(tmp_path, "--resume")
    said, _ = resumed.communicate(timeout=300)
    assert resumed.returncode == 0, said
    run(SETTINGS | {"clients": 2}, "local", tmp_path / "same", False, False, Console(quiet=True))
    assert hashes(tmp_path / "run") == hashes(tmp_path / "same")
    assert not (tmp_path / "run/nodes").exists()
    assert not marked(tmp_path)
