"""Laws of the processes of a deployment on this machine: they end together, and say why."""

import signal
import subprocess
import sys
import time

import pytest

from fedkd.base.errors import RunError
from sims.deploy.processes import Processes, last_message
from sims.signals import interruptible


def test_what_a_process_started_ends_with_it_even_in_a_session_of_its_own(tmp_path):
    child = "import time; time.sleep(60)"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True).wait()"
    processes = Processes(tmp_path)
    processes.start("parent", [sys.executable, "-c", code], {})
    while len(processes.left()) < 2:
        processes.check()
    processes.stop()
    assert processes.left() == []


STUBBORN = """
import signal, subprocess, sys, time
from pathlib import Path
from sims.deploy import processes as module
from sims.signals import interruptible
module._PATIENCE = 2.0
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup has ignored
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
processes = module.Processes(Path(sys.argv[1]))
try:
    with interruptible():
        try:
            processes.start("deaf", [sys.executable, "-c", deaf], {})
            while "deaf" not in processes.log("deaf").read_text():
                time.sleep(0.05)
            print("ready", flush=True)
            time.sleep(60)
        finally:
            print("stopping", flush=True)
            processes.stop()
except KeyboardInterrupt:
    print("left", processes.left(), flush=True)
"""


@pytest.mark.parametrize("first", [signal.SIGHUP, signal.SIGTERM])
def test_a_second_signal_doesnt_keep_what_ignores_sigterm_alive(tmp_path, first):
    command = [sys.executable, "-c", STUBBORN, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(first)
        assert process.stdout.readline() == "stopping\n"
        time.sleep(0.5)  # it is at it by now, for two seconds
        for again in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process.send_signal(again)
        assert process.communicate(timeout=30)[0] == "left []\n"
    assert process.returncode == 0


def test_a_hangup_that_nohup_ignores_stays_ignored():
    before, ends = signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.getsignal(signal.SIGTERM)
    try:
        with interruptible():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is ends
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_process_that_ended_is_named_with_its_last_words(tmp_path):
    processes = Processes(tmp_path)
    processes.start("node-0", ["/bin/sh", "-c", "echo 'error: no such file'; echo retrying in 3 s"], {})
    while processes.left():
        time.sleep(0.05)
    with pytest.raises(RunError, match=r"node-0 ended: error: no such file \(log: "):
        processes.check()


def test_flowers_own_words_are_preferred(tmp_path):
    (tmp_path / "log").write_text(
        "INFO: started\nERROR: Exit Code: 305\nFailed to connect.\n[code: 2001] who?\nerror\n"
    )
    assert last_message(tmp_path / "log") == "Failed to connect. [code: 2001] who?"


def test_what_a_server_app_refuses_is_said_rather_than_that_it_raised(tmp_path):
    (tmp_path / "log").write_text(
        "Traceback (most recent call last):\n  raise InputError(text)\nfedkd.base.errors.InputError: out: finished\n"
        "ERROR: Exit Code: 201\n\nAn unhandled exception occurred in the ServerApp.\n"
    )
    assert last_message(tmp_path / "log") == "out: finished"
