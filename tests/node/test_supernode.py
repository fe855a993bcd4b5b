"""Laws of asking for work: soon after some, as seldom as Flower else, and as often as Flower where it works."""

import re
import time
from inspect import getsource

import pytest
from flwr.supernode import start_client_internal

from clients.node.supernode import IDLE, Clock


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
