"""A process whose k-th change to the disk is its last, or fails: every write, fsync, rename, removal and new file.

    python -m tests.device.faults FOLDER KIND TRIAL EVERY

runs in FOLDER, which holds a hub, ``hub``, and a device, ``state``, one version behind it. For every k it lets a copy
of the device update, breaks it off at change k (KIND ``kill``), kills it and the next update, too (``twice``), or lets
all changes from k on fail (``full``); then the device has to run the old model or the new one, and to update.
TRIAL is ``child``, or ``here`` to run models in this process, which is quick.
"""

import errno
import os
import random
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np

from clients.device import child, classify, trial
from clients.device.errors import UpdateFailed
from clients.device.state import State
from clients.device.update import update
from server.hub.repository import Repository
from tests.device.hubs import Folder
from tests.device.models import LABELS, X

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.symlink", "os.link", "os.truncate"}
BIAS = {2: (0, 1, 0), 3: (5, 0, 0)}


class Disk:
    """Counts what a process changes on the disk, and breaks it off.

    Args:
        at: Number of the change that is the last, or the first to fail; from 0.
        full: Whether changes fail, with "no space left on device", instead.
    """

    def __init__(self, at, full=False):
        self.count, self.at, self.full = 0, at, full
        self.write = os.write

    def install(self):
        os.write, os.fsync = self.half_written, lambda handle: self.change()
        sys.addaudithook(self.hook)

    def hook(self, event, args):
        opened = event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and args[0] != os.devnull
        if event in CHANGES or (opened and isinstance(args[0], str | bytes | os.PathLike)):
            self.change()

    def change(self):
        now, self.count = self.count, self.count + 1
        if self.at is None or now < self.at:
            return
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if now == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def half_written(self, handle, data):
        if self.at is not None and self.count >= self.at:
            self.write(handle, bytes(data[: len(data) // 2]))
        self.change()
        return self.write(handle, data)


def forked(work):
    """Run in a process of its own; how it ended."""
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    try:
        os._exit(work() or 0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(99)


def updated(place, hub):
    update(State(place), Folder(hub.served), hub.first_root.read_bytes(), ["default"])


def runs(place, versions):
    """Check that the device answers, and as the version it says it runs must."""
    found = classify.classify(State(place), None)
    version = found["model"]["version"]
    assert version in versions, f"version {version} runs, it may be {versions}"
    expected = [LABELS[index] for index in (X + np.array(BIAS[version])).argmax(-1)]
    assert [answer["label"] for answer in found["answers"]] == expected
    assert "failed" not in found, found


def changes(folder, hub):
    """How many changes to the disk an update makes."""
    place = copied(folder, "counted")

    def count():
        disk = Disk(None)
        disk.install()
        updated(place, hub)
        return disk.count

    return os.waitstatus_to_exitcode(forked(count))


def copied(folder, name):
    place = folder / name
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(folder / "state", place, symlinks=True)
    return place


def broken(place, hub, at):
    """An update whose process is killed at a change."""

    def work():
        Disk(at).install()
        updated(place, hub)

    return forked(work)


def starved(place, hub, at):
    """An update on a disk that is full from a change on: it may fail, and the model runs in the same process."""

    def work():
        Disk(at, full=True).install()
        with suppress(UpdateFailed):
            updated(place, hub)
        runs(place, (2, 3))

    return forked(work)


def recovered(place, hub):
    def work():
        runs(place, (2, 3))
        updated(place, hub)
        runs(place, (3,))
        assert len(list((place / "models").iterdir())) == 2

    return forked(work)


def main(folder, kind, where, every):
    os.fsync = lambda handle: None  # costs seconds, and what a killed process leaves is there without it
    folder, rng = Path(folder), random.Random(0)
    hub, bad = Repository(folder / "hub"), []
    if where == "here":
        trial.run = lambda model, x, seconds=0: trial.Answer(child.run(model, x)[0], 0.0)
    total = changes(folder, hub)
    for at in range(0, total, int(every)):
        place = copied(folder, "device")
        if kind == "full":
            ends = [starved(place, hub, at)]
            killed = ends == [0]
        else:
            ends = [broken(place, hub, at)]
            killed = ends == [signal.SIGKILL]
            if kind == "twice":
                ends.append(broken(place, hub, rng.randrange(total)))
        if not killed or recovered(place, hub):
            bad.append((at, ends))
    print(f"{total} changes, broken off at {len(range(0, total, int(every)))} of them; wrong: {bad}")
    sys.exit(bool(bad))


if __name__ == "__main__":
    main(*sys.argv[1:])
