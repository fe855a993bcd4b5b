"""Laws of processes that begin as copies: each is its own, with what it was asked for with, and none is left behind."""

import os
import re
import signal
import subprocess
import time
from inspect import getsource
from pathlib import Path

import pytest
from flwr.supercore.superexec.executor import subprocess_executor

from clients.node.superexec import Launches
from fedkd.base.python import import_path, python

ASKS = """
import os, signal, sys, time
from pathlib import Path
from clients.node.template import Template, fork

def prepare():
    import {module}
    Path("template").write_text(str(os.getpid()))
    {prepare}

found = fork(prepare)
if isinstance(found, Template):
    {asks}
    sys.exit()
{copy}
plain = signal.getsignal(signal.SIGINT) is signal.default_int_handler
text = f"{{os.getpid()}} {{os.getppid()}} {{'{module}' in sys.modules}} {{plain}}"
Path(found[0] + ".part").write_text(text)
os.rename(found[0] + ".part", found[0])
"""


def start(folder, asks, prepare="", copy="", module="wave"):
    code = ASKS.format(asks=asks, prepare=prepare, copy=copy, module=module)
    env = {**os.environ, "PYTHONPATH": import_path()}
    return subprocess.Popen(python("-c", code), cwd=folder, env=env, stderr=subprocess.PIPE, text=True)


def come(path, seconds=30):
    """The words of a file, once it is there."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"no {path.name}"
        time.sleep(0.02)
    return path.read_text().split()


def gone(pid, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True  # of nobody here
        except OSError:
            return True
        time.sleep(0.02)
    return False


def test_each_copy_is_a_process_of_its_own_with_its_arguments_and_the_imports(tmp_path):
    asked = start(tmp_path, 'assert found.copy(["a"]) and found.copy(["b"]); sys.stdin.read(); time.sleep(60)')
    (template,) = come(tmp_path / "template")
    first, second = come(tmp_path / "a"), come(tmp_path / "b")
    assert first[1:] == second[1:] == [template, "True", "True"]
    assert len({first[0], second[0], template, str(asked.pid)}) == 4
    assert gone(int(first[0]))
    assert gone(int(second[0]))
    asked.kill()  # the template ends with whoever asks it, however that ends
    assert gone(int(template))
    asked.communicate()


def test_a_copy_that_is_at_work_goes_on_when_its_template_has_ended(tmp_path):
    asked = start(tmp_path, 'found.copy(["late"]); time.sleep(.5)', copy="time.sleep(2)")
    (template,) = come(tmp_path / "template")
    assert asked.wait(30) == 0
    assert gone(int(template))
    assert come(tmp_path / "late")[2] == "True"
    asked.communicate()


def test_a_template_that_cannot_prepare_says_why_and_asks_are_told(tmp_path):
    """Those too that came before it failed: none is lost."""
    asks = 'Path("told").write_text(" ".join(str(found.copy([name])) for name in ("early", "late")))'
    asked = start(tmp_path, asks, prepare='time.sleep(1); raise ImportError("no such library")')
    assert come(tmp_path / "told") == ["False", "False"]
    assert "no such library" in asked.communicate()[1]
    assert not (tmp_path / "early").exists()


def test_a_copy_that_is_asked_for_early_begins_when_the_template_is_prepared(tmp_path):
    asked = start(tmp_path, 'Path("told").write_text(str(found.copy(["a"]))); time.sleep(30)', prepare="time.sleep(1)")
    assert come(tmp_path / "told") == ["True"]
    assert come(tmp_path / "a")[2] == "True"
    asked.kill()
    asked.communicate()


def test_an_interrupt_of_the_terminal_does_not_end_the_template(tmp_path):
    asked = start(tmp_path, 'sys.stdin.read(); time.sleep(3); found.copy(["a"]); time.sleep(3)')
    (template,) = come(tmp_path / "template")
    time.sleep(0.2)
    os.kill(int(template), signal.SIGINT)
    assert come(tmp_path / "a")[1] == template
    asked.kill()
    asked.communicate()


class Asked:
    """A template that is there, or isn't."""

    def __init__(self, there):
        self.there, self.arguments = there, []

    def copy(self, arguments):
        self.arguments.append(arguments)
        return self.there


@pytest.mark.parametrize(
    "command, options, there, started",
    [
        (["flwr-clientapp", "--token", "t"], {}, True, False),
        (["flwr-clientapp", "--token", "t"], {}, False, True),
        (["flwr-clientapp", "--token", "t"], {"stdout": subprocess.DEVNULL}, True, True),
        (["flwr-serverapp", "--token", "t"], {}, True, True),
    ],
)
def test_only_a_plain_client_is_copied_and_all_else_is_started(monkeypatch, command, options, there, started):
    seen = []
    monkeypatch.setattr("clients.node.superexec.subprocess.Popen", lambda *a, **o: seen.append((a, o)))
    template = Asked(there)
    Launches(template).Popen(command, **options)
    assert seen == ([((command,), options)] if started else [])
    assert template.arguments in ([], [["--token", "t"]])
    assert started or template.arguments


def test_flowers_executor_starts_processes_by_the_module_that_is_replaced():
    source = getsource(subprocess_executor)
    assert subprocess_executor.subprocess is subprocess
    assert set(re.findall(r"\bsubprocess\.(\w+)", source)) == {"Popen", "DEVNULL"}


def test_the_command_takes_what_flowers_takes():
    env = {**os.environ, "PYTHONPATH": import_path()}
    command = python("-m", "clients.node.superexec", "--help")
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    assert "--runtime-api-address" in done.stdout
    assert "Flower SuperExec" in done.stdout
