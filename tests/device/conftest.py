"""A hub with two versions, and devices that run the second: made once, copied for each test."""

import os
import shutil

import pytest

from clients.device import backoff
from clients.device.state import State
from server.hub.repository import Repository
from tests.device.hubs import copied, hub, installed
from tests.device.models import release


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Waiting for the disk, and for a hub that is away, proves nothing here and takes most of the time.

    See test_power_cuts.py and test_backoff.py for their places.
    """
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    monkeypatch.setattr(backoff, "FIRST", 0.002)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Folders of a hub with version 1, the same with version 2, and a device that followed it."""
    place = tmp_path_factory.mktemp("made")
    first = hub(place / "hub", release(1, (1, 0, 0)))
    installed(place / "state", first)
    copied(first, place / "old")
    first.publish(release(2, (0, 1, 0)))
    shutil.copytree(place / "state", place / "state1")
    installed(place / "state", first)
    return place


@pytest.fixture
def place(made, tmp_path):
    for name in ("hub", "old", "state", "state1"):
        shutil.copytree(made / name, tmp_path / name, symlinks=True)
    return tmp_path


@pytest.fixture
def newest(place):
    """The hub, which has published version 2."""
    return Repository(place / "hub")


@pytest.fixture
def old(place):
    """The hub as it was when version 1 was its newest."""
    return Repository(place / "old")


@pytest.fixture
def device(place):
    """A device that runs version 2."""
    return State(place / "state")


@pytest.fixture
def behind(place):
    """A device that runs version 1."""
    return State(place / "state1")
