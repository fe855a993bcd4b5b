"""Laws of asking for work: soon after some, as seldom as Flower else, and as often as Flower where it works."""

import os
import re
import subprocess
import time
from inspect import getsource

import pytest
from flwr.supernode import start_client_internal

from clients.node.supernode import IDLE, Clock, instead_of_flowers
from fedkd.base.python import import_path, python


class Time:
    def __init__(self):
        self.now, self.waits = 1000.0, []

    def sleep(self, seconds):
        self.waits.append(seconds)
        self.now += seconds


def waits(work, idle, before=0):
    """What is waited in a time without work, a time of work as Flower's loop waits for it, and a time without."""
    found = Time()
    clock = Clock(lambda: found.now, found.sleep)
    for _ in range(before):
        clock.sleep(IDLE)
    end = found.now + work
    while found.now < end:
        clock.sleep(0.5)
    worked, end = len(found.waits), found.now + idle
    while found.now < end:
        clock.sleep(IDLE)
    return found.waits[before:worked], found.waits[worked:]


def test_without_work_it_is_flowers():
    assert waits(0, 30)[1] == [IDLE] * 10


@pytest.mark.parametrize("before", [0, 5])
def test_it_adds_a_tenth_to_a_round_and_then_asks_ever_more_seldom(before):
    working, idle = waits(2, 100, before)
    assert all(wait <= 0.5 for wait in working)
    assert idle[0] == pytest.approx(0.2, abs=0.05)
    assert idle == sorted(idle)
    assert idle[-1] == IDLE
    assert len(idle) < 60


def test_after_long_work_it_is_flowers():
    working, idle = waits(60, 30)
    assert working[-1] == 0.5
    assert idle == [IDLE] * 10


def test_flowers_loop_waits_by_the_module_that_is_replaced():
    source = getsource(start_client_internal)
    assert start_client_internal.time is time
    assert {float(found) for found in re.findall(r"time\.sleep\(([\d.]+)\)", source)} == {IDLE, 0.5}
    assert set(re.findall(r"\btime\.(\w+)", source)) == {"sleep"}


def test_the_clients_command_is_flowers_without_its_supernode(tmp_path):
    env = {**os.environ, "PATH": instead_of_flowers(tmp_path / "a folder"), "PYTHONPATH": import_path()}
    done = subprocess.run(["flwr-clientapp", "--help"], env=env, capture_output=True, text=True, check=True)
    assert "--runtime-api-address" in done.stdout
    assert "--parent-pid" in done.stdout
    code = "import sys; from clients.node.clientapp import main; sys.argv[1:] = ['--help']\ntry: main()\nfinally: "
    code += "print(*sys.modules)"
    done = subprocess.run(python("-c", code), env=env, capture_output=True, text=True, check=True)
    assert not {"flwr.supernode.start_client_internal", "flwr.supernode.cli.flower_supernode"} & {*done.stdout.split()}
