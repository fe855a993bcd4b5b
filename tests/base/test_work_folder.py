"""Laws of hidden folders in which something is made: they go with their process, at the latest at the next start."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fedkd.base.work_folder import work_folder

ROOT = Path(__file__).parents[2]
HOLDS = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from fedkd.base.work_folder import work_folder
with work_folder(Path(sys.argv[2]), "edge") as folder:
    (folder / "half").touch()
    print("here", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holding(tmp_path):
    """A process at work on `edge`."""
    command = [sys.executable, "-P", "-c", HOLDS, str(ROOT), str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "here\n"
        yield process
        process.kill()


def test_what_a_killed_process_left_goes_with_the_next_one_and_nothing_else(tmp_path, holding):
    """Not that of a process that still runs, nor hidden folders of other people."""
    others = [".edge-12345678", ".fedkd-work-notes", ".x.fedkd-work-short"]
    for name in others:
        (tmp_path / name).mkdir()
    (left,) = tmp_path.glob(".edge.fedkd-work-*")
    with work_folder(tmp_path, "second"):
        assert left.exists()
    holding.send_signal(signal.SIGKILL)
    holding.wait()
    assert left.exists()
    with work_folder(tmp_path, "edge"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == set(others)


def test_a_folder_goes_whatever_happens_in_it(tmp_path):
    with pytest.raises(ZeroDivisionError), work_folder(tmp_path, "x"):
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_a_link_of_such_a_name_is_not_followed(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / ".x.fedkd-work-12345678").symlink_to(tmp_path / "kept")
    with work_folder(tmp_path, "x"):
        pass
    assert (tmp_path / "kept").exists()
