"""Signing a run's model for devices."""

from pathlib import Path

from clients.device.protocol.manifest import LARGEST_VERSION, Manifest, check_channel, unpack
from fedkd.base.errors import InputError
from server.hub.model import device_file, manifest_of
from server.hub.repository import Repository


def publish(
    run: Path,
    hub: Path,
    file: str,
    channel: str,
    replace_task: bool = False,
    version: int | None = None,
    golden: str = "",
    trust: bool = False,
) -> tuple[Manifest, Repository, bool]:
    """Publish a device file of a run as the newest of a channel.

    Args:
        run: Folder of a run, or of ``fedkd edge``.
        hub: Folder of the hub; is made where there is none.
        file: Name of a .tflite in the run's folder; empty for the one that was made for devices.
        channel: The one that devices follow.
        replace_task: Whether task, labels or input may be others than those of the channel's newest model.
        version: The channel's, above its newest; None for the next.
        golden: Which examples everybody gets to see, see ``server.hub.golden.golden_rows``.
        trust: Whether code that the run's configuration names may run.

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
    after, newest = repository.version(), _newest(repository, channel)
    manifest = manifest_of(found, channel, _next(newest, version), golden, trust)
    if newest and not replace_task:
        _check_alike(manifest, newest)
    files = {manifest.file["name"]: found.path.read_bytes(), "manifest.json": _written(manifest, found.path)}
    new = repository.create()
    repository.publish({f"{channel}/{name}": data for name, data in files.items()}, after)
    return manifest, repository, new


def _written(manifest: Manifest, path: Path) -> bytes:
    """The manifest's bytes, once they are known to be what devices read."""
    try:
        written = manifest.pack()
        unpack(written)
    except ValueError as error:
        raise InputError(f"{path}: can't be published, every device would refuse it: {error}") from None
    return written


def _newest(repository: Repository, channel: str) -> Manifest | None:
    """A channel's newest model."""
    if not repository.store.has_root():
        return None
    written = repository.read(f"{channel}/manifest.json")
    try:
        return unpack(written) if written is not None else None
    except ValueError as error:
        raise InputError(
            f"--hub {repository.folder}: channel {channel!r} holds {error}; publish to another --channel"
        ) from None


def _next(newest: Manifest | None, version: int | None) -> int:
    last = newest.version if newest else 0
    if version is None:
        return last + 1
    if not last < version <= LARGEST_VERSION:
        raise InputError(f"--version: must be above {last}, the channel's newest, and below 2^63, got {version}")
    return version


def _check_alike(manifest: Manifest, newest: Manifest) -> None:
    """Raise InputError where devices that feed the newest model would feed this one what it doesn't take."""
    for what, new, old in (
        ("task", manifest.task, newest.task),
        ("labels", list(manifest.labels), list(newest.labels)),
        ("input shape", list(manifest.input["shape"]), list(newest.input["shape"])),
    ):
        if new != old:
            raise InputError(
                f"channel {manifest.channel!r}: its devices have {what} {str(old)[:100]}, this model has"
                f" {str(new)[:100]}; give another --channel, or --replace-task if the devices know"
            )
