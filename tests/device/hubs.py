"""Repositories that are attacked, and what a device says of them."""

import shutil
from datetime import UTC, datetime

import pytest
from tuf.api.exceptions import DownloadHTTPError
from tuf.api.metadata import Metadata

from clients.device.errors import UpdateFailed
from clients.device.state import State
from clients.device.update import update
from server.hub.keys import need_key
from server.hub.repository import Repository

NOW = datetime.now(UTC)


class Folder:
    """A repository in a folder, as a Source; what an attacker does to files on their way is ``change``."""

    def __init__(self, folder, change=lambda path, data: data):
        self.folder, self.change, self.asked = folder, change, []

    def read(self, path, offset, seconds):
        self.asked.append((path, offset))
        try:
            data = (self.folder / path).read_bytes()
        except FileNotFoundError:
            raise DownloadHTTPError(f"{path}: not found", 404) from None
        return offset, iter([self.change(path, data)[offset:]])


def hub(folder, *releases, now=NOW):
    """A repository with some releases."""
    made = Repository(folder, now)
    made.create()
    for files in releases:
        made.publish(files)
    return made


def copied(made, folder, now=NOW):
    """A copy of a hub, with its keys: what an attacker saved, or stole."""
    shutil.copytree(made.folder, folder)
    return Repository(folder, now)


def resigned(made, name, change, role=None):
    """Change metadata and sign them with the hub's own key of a role: what a stolen key can do."""
    path = made.store.folder / name
    metadata = Metadata.from_file(str(path))
    change(metadata.signed)
    role = role or metadata.signed.type
    metadata.sign(need_key(made.keys, role, made.store.root().signed))
    metadata.to_file(str(path))
    return metadata.signed


def fetched(state, made, change=lambda path, data: data, root=None, **given):
    """Update from a hub's folder."""
    source = Folder(made.served, change)
    return update(state, source, root or made.first_root.read_bytes(), ["default"], **given)


def installed(folder, made):
    """A device that runs the newest model of a hub."""
    state = State(folder)
    fetched(state, made, root=state.trust(made.first_root.read_bytes()))
    state.device()
    return state


def refused(state, made, because, *args, **given):
    """Check that an update fails for a reason that is one line, and that the model before is still there, whole."""
    before = state.current()
    with pytest.raises(UpdateFailed, match=because) as failed:
        fetched(state, made, *args, **given)
    assert "\n" not in str(failed.value)
    assert state.current().name == before.name
    assert State(state.folder).current().name == before.name
    assert not list(state.models.glob("*")) or len(list(state.models.glob("*"))) <= 2
