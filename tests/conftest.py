"""Every test runs under the process settings of a real run; figures that tests reach are listed at the end."""

import random
import signal
import threading
from collections import defaultdict

import pytest

from fedkd.base import runtime

runtime.configure()
# Shells have what they start in the background ignore SIGINT, and its children would, too.
if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def drawn_alike():
    """Keras draws the seeds of layers that are given none from Python's own generator: alike each time."""
    random.seed(0)


@pytest.fixture
def reached(record_property):
    """Notes what a test measured, ``reached("refused, s", 0.04)``: numbers of one name are listed as a range."""
    return lambda name, value: record_property("reached", (name, value))


def pytest_terminal_summary(terminalreporter):
    found = defaultdict(list)
    for reports in terminalreporter.stats.values():
        for report in reports:
            if getattr(report, "when", None) == "call":
                for key, pair in report.user_properties:
                    if key == "reached":
                        found[pair[0]].append(pair[1])
    if found:
        terminalreporter.section("figures reached")
    for name, values in sorted(found.items()):
        terminalreporter.write_line(f"{name}: {_range(values)}")


def _range(values):
    if len(values) == 1 or not all(isinstance(value, int | float) for value in values):
        return "; ".join(map(_short, values))
    return f"{_short(min(values))} to {_short(max(values))} ({len(values)})"


def _short(value):
    return f"{value:.4g}" if isinstance(value, float) else str(value)
