"""Signing a run's model for devices."""

from pathlib import Path

from clients.device.protocol.manifest import Manifest, check_channel, unpack
from fedkd.errors import InputError
from server.hub.repository import Repository
from sims.hub.model import device_file, manifest_of


def publish(run: Path, hub: Path, file: str, channel: str) -> tuple[Manifest, Repository, bool]:
    """Publish a device file of a run as the newest of a channel.

    Args:
        run: Folder of a run, or of ``fedkd edge``.
        hub: Folder of the hub; is made where there is none.
        file: Name of a .tflite in the run's folder; empty for the one that was made for devices.
        channel: That devices follow.

    Returns:
        What was published, where, and whether the hub is new.

    Raises:
        InputError: An argument breaks a rule; nothing is published then.
    """
    try:
        check_channel(channel)
    except ValueError as error:
        raise InputError(f"--channel: {error}") from None
    repository, found = Repository(hub), device_file(run, file)
    repository.check_place()
    after = repository.version()
    manifest = manifest_of(found, channel, _newest(repository, channel) + 1)
    new = repository.create()
    files = {manifest.file["name"]: found.path.read_bytes(), "manifest.json": manifest.pack()}
    repository.publish({f"{channel}/{name}": data for name, data in files.items()}, after)
    return manifest, repository, new


def _newest(repository: Repository, channel: str) -> int:
    """Version of a channel's newest model, 0 where it has none."""
    if not repository.store.has_root():
        return 0
    written = repository.read(f"{channel}/manifest.json")
    return unpack(written).version if written else 0
