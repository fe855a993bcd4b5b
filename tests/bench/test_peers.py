"""Laws of the peers of the benchmark: environments are made once, programs leave nothing behind."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import sims.bench.peers
from sims.bench.peers import environments
from sims.bench.peers.environments import PEERS, Peer, PeerError, environment
from sims.bench.peers.run import measure

FOLDER = Path(sims.bench.peers.__file__).parent
# Does no work: hands the initial weights back.
ECHO = """
import sys
import numpy as np
work = np.load(sys.argv[1])
np.savez(sys.argv[2], seconds=[3.0, 1.0], **{key: work[key] for key in work if key.startswith("weight")})
"""


def peer_of(requirements="none.txt", program="none.py"):
    return Peer("tiny", "a peer for tests", str(requirements), str(program))


@pytest.fixture
def requirements(tmp_path):
    path = tmp_path / "nothing.txt"
    path.write_text("# nothing\n")
    return path


@pytest.fixture
def work(tmp_path):
    path = tmp_path / "work.npz"
    np.savez(path, **{f"weight_{i}": np.full(i + 1, i, np.float32) for i in range(6)})
    return path


def run(source, work, timeout=60.0):
    program = work.parent / "program.py"
    program.write_text(source)
    return measure(peer_of(program=program), Path(sys.executable), work, timeout)


def fake_making(monkeypatch):
    """Make environments without venv and pip; returns the commands that would have run."""
    commands = []

    def note(command, failure):
        commands.append(command)
        if "venv" in command:
            python = Path(command[-1]) / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.touch()

    monkeypatch.setattr(environments, "_run", note)
    return commands


def test_every_peer_has_its_program_and_requirements_pinned_exactly():
    assert len({peer.name for peer in PEERS}) == len(PEERS)
    for peer in PEERS:
        assert (FOLDER / "programs" / peer.program).is_file()
        lines = (FOLDER / "requirements" / peer.requirements).read_text().split()
        assert lines
        assert all("==" in line for line in lines)


@pytest.mark.bench
def test_environment_has_a_python_of_its_own(requirements, tmp_path):
    python = environment(peer_of(requirements), tmp_path / "peers")
    assert (python.parents[1] / "pyvenv.cfg").is_file()
    assert os.access(python, os.X_OK)
    assert python.parents[1].parent == tmp_path / "peers"


def test_environment_is_made_once(requirements, tmp_path, monkeypatch):
    commands = fake_making(monkeypatch)
    first, second = (environment(peer_of(requirements), tmp_path / "peers") for _ in range(2))
    assert first == second
    assert [("venv" in c, "pip" in c) for c in commands] == [(True, False), (False, True)]


def test_half_made_environment_is_made_anew(requirements, tmp_path, monkeypatch):
    commands = fake_making(monkeypatch)
    home = environment(peer_of(requirements), tmp_path / "peers").parents[1]
    (home / "ready").unlink()
    (home / "rubbish").touch()
    environment(peer_of(requirements), tmp_path / "peers")
    assert len(commands) == 4
    assert (home / "ready").exists()
    assert not (home / "rubbish").exists()


def test_other_requirements_get_an_environment_of_their_own(requirements, tmp_path, monkeypatch):
    fake_making(monkeypatch)
    before = environment(peer_of(requirements), tmp_path / "peers")
    requirements.write_text("# something\n")
    assert environment(peer_of(requirements), tmp_path / "peers") != before


def test_what_cant_be_installed_is_said_and_removed(requirements, tmp_path, monkeypatch):
    ours = tmp_path / "python"
    ours.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    ours.chmod(0o755)
    truly = environments._run

    def quickly(command, failure):
        """Our own python as that of the environment, for its pip is the same and already there."""
        if "venv" not in command:
            return truly(command, failure)
        (Path(command[-1]) / "bin").mkdir(parents=True)
        return (Path(command[-1]) / "bin" / "python").symlink_to(ours)

    monkeypatch.setattr(environments, "_run", quickly)
    requirements.write_text("./no-such-folder-of-a-package\n")
    with pytest.raises(PeerError, match=r"can't install nothing\.txt: .*no-such-folder"):
        environment(peer_of(requirements), tmp_path / "peers")
    assert list((tmp_path / "peers").iterdir()) == []


def test_result_is_what_the_program_wrote(work):
    result = run(ECHO, work)
    assert result.seconds.tolist() == [3.0, 1.0]
    assert [w.tolist() for w in result.weights] == [[i] * (i + 1) for i in range(6)]


def test_failure_says_the_last_line(work):
    with pytest.raises(PeerError, match=r"^tiny failed: ValueError: weights are wrong$"):
        run("raise ValueError('weights are wrong')", work)


def test_no_result_is_a_failure(work):
    with pytest.raises(PeerError, match="tiny failed: no reason given"):
        run("pass", work)


def test_nothing_outlives_a_timeout(work):
    child = work.parent / "child"
    source = f"""
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path({str(child)!r}).write_text(str(child.pid))
time.sleep(60)
"""
    with pytest.raises(PeerError, match=r"^tiny took longer than 1\.5 s$"):
        run(source, work, timeout=1.5)
    assert gone(int(child.read_text()))


def test_what_a_program_leaves_behind_is_removed(work):
    note = work.parent / "note"
    source = f"import pathlib, tempfile; pathlib.Path({str(note)!r}).write_text(tempfile.mkdtemp())\n{ECHO}"
    run(source, work)
    assert not Path(note.read_text()).exists()


def test_programs_see_no_packages_of_ours(work, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    run(f"import os; assert 'PYTHONPATH' not in os.environ\n{ECHO}", work)


def gone(process):
    """Whether a process has ended, within a second; a zombie that waits for its parent has."""
    for _ in range(20):
        try:
            if Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False
