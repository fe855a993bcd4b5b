"""Waiting for what other processes do."""

import time


def wait_for(what, seconds=400.0):
    """Return what a function returns once that is true."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "nothing came of it in time"
        time.sleep(0.2)
    return found
