"""One update: what is signed, newer, whole and answers its golden examples becomes the current model; nothing else."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tuf.api import exceptions as tuf
from tuf.api.metadata import Metadata, Root, TargetFile
from tuf.ngclient import Updater

from clients.device import durable
from clients.device.errors import ModelRefused, UpdateFailed, WrongInput, one_line
from clients.device.fetch import Fetcher, Source
from clients.device.protocol.manifest import LARGEST_MANIFEST, Manifest, unpack
from clients.device.state import Generation, State, generation
from clients.device.trial import check_golden

_WORDS = {
    tuf.ExpiredMetadataError: "what the hub shows is out of date (or this device's clock is wrong)",
    tuf.BadVersionNumberError: "the hub shows something older than it did before, or parts of different ages",
    tuf.UnsignedMetadataError: "not signed by the keys that this device trusts",
    tuf.LengthOrHashMismatchError: "the hub sent other bytes than those that were signed",
    tuf.DownloadLengthMismatchError: "the hub sends more bytes than were signed",
    tuf.SlowRetrievalError: "the hub is too slow",
    tuf.DownloadHTTPError: "the hub lacks a file",
    tuf.DownloadError: "the hub can't be reached",
    tuf.RepositoryError: "the hub's metadata are damaged or forged",
    OSError: "this device can't write",
}


class Updated(NamedTuple):
    """A new model.

    Args:
        manifest: What it is.
        agreement: Share of them that are decided as the manifest says.
    """

    manifest: Manifest
    agreement: float


def check_root(data: bytes) -> bytes:
    """Return the root metadata of a TUF repository if it is that, signed by itself.

    Raises:
        WrongInput: It isn't.
    """
    try:
        found = Metadata[Root].from_bytes(data)
        if found.signed.type != Root.type:
            raise ValueError(f"it is {found.signed.type} metadata")
        found.signed.verify_delegate(Root.type, found.signed_bytes, found.signatures)
    except (tuf.RepositoryError, ValueError) as error:
        raise WrongInput(f"--root: must be the root metadata of a TUF repository: {one_line(error)}") from None
    return data


def update(
    state: State, source: Source, root: bytes, channels: Sequence[str], flash_bytes: int = 0, ram_bytes: int = 0,
    seconds: float = 600.0,
) -> Updated | None:  # fmt: skip
    """Fetch, verify, try and adopt what a channel offers.

    Args:
        state: The device's folder; its current model stays if anything fails.
        source: The repository.
        root: Trusted root metadata.
        channels: Those that the device may follow; the first that is there and fits is taken.
        flash_bytes: What a model's file may take; 0 for no limit but the largest of all.
        ram_bytes: What its tensors may take; 0 for no limit.
        seconds: For everything that is fetched.

    Returns:
        The new model; None where the current one is the newest.

    Raises:
        UpdateFailed: Why there is no new one, in one line.
    """
    try:
        state.clear()
        return _update(state, _verified(state, source, root, seconds), channels, flash_bytes, ram_bytes)
    except UpdateFailed:
        raise
    except Exception as error:  # whatever a hub can bring about must not stop the model that runs
        words = next((words for kind, words in _WORDS.items() if isinstance(error, kind)), "unforeseen")
        raise UpdateFailed(f"{words}: {one_line(error)}") from error


def _verified(state: State, source: Source, root: bytes, seconds: float) -> Updater:
    """Metadata of the repository, as new as any seen before, and on the disk."""
    fetcher = Fetcher(source, state.download, seconds)
    updater = Updater(str(state.metadata), "metadata/", target_base_url="targets/", fetcher=fetcher, bootstrap=root)
    updater.refresh()
    for path in state.metadata.glob("*.json"):
        durable.sync(path)
    durable.sync(state.metadata)
    return updater


def _update(state: State, updater: Updater, channels: Sequence[str], flash: int, ram: int) -> Updated | None:
    current, reasons = state.current(), []
    failed: list[str] = []
    for channel in channels:
        info = updater.get_targetinfo(f"{channel}/manifest.json")
        if info is None:
            reasons.append(f"the hub has no channel {channel!r}")
            continue
        name = info.hashes.get("sha256", "")
        if current and current.name == name:
            break
        if why := state.refused(name):
            failed.append(why)
            continue
        manifest = _manifest(state, updater, info, channel)
        if reason := manifest.unfit(flash, ram):
            reasons.append(reason)
            continue
        _check_newer(manifest, current)
        try:
            return _adopted(state, updater, manifest, name)
        except ModelRefused as error:  # the next channel's may do
            failed.append(str(error))
    else:
        raise UpdateFailed("; ".join([*failed, *reasons]) or "no channel to follow")
    if failed:
        raise UpdateFailed("; ".join(failed))
    return None


def _manifest(state: State, updater: Updater, info: TargetFile, channel: str) -> Manifest:
    """Fetch and read a channel's manifest."""
    if info.length > LARGEST_MANIFEST:
        raise UpdateFailed(f"{info.path} has {info.length:,} bytes, at most {LARGEST_MANIFEST:,} are read")
    path = Path(updater.download_target(info, str(state.download / "manifest.json")))
    try:
        manifest = unpack(path.read_bytes())
    except ValueError as error:
        raise UpdateFailed(f"{info.path}: {error}") from None
    if manifest.channel != channel:
        raise UpdateFailed(f"{info.path} is signed, but for channel {manifest.channel!r}")
    return manifest


def _check_newer(manifest: Manifest, current: Generation | None) -> None:
    """Raise UpdateFailed where a channel goes back; TUF sees to this as long as its folder is whole."""
    if current is None or current.manifest.channel != manifest.channel:
        return
    if manifest.version <= current.manifest.version:
        raise UpdateFailed(f"the hub offers version {manifest.version}, {current.manifest.version} runs here")


def _adopted(state: State, updater: Updater, manifest: Manifest, name: str) -> Updated:
    """Fetch a model, and make it the current one if it is what its manifest says."""
    path = f"{manifest.channel}/{manifest.file['name']}"
    info = updater.get_targetinfo(path)
    if info is None or (info.length, info.hashes.get("sha256")) != (manifest.file["bytes"], manifest.file["sha256"]):
        raise UpdateFailed(f"{path} isn't the file that its manifest was signed for")
    shutil.rmtree(state.incoming, ignore_errors=True)
    state.incoming.mkdir()
    model = state.incoming / "model.tflite"
    updater.download_target(info, str(model))
    durable.sync(model)
    os.replace(state.download / "manifest.json", state.incoming / "manifest.json")
    durable.sync(state.incoming / "manifest.json")
    found = generation(state.incoming)
    if found is None or found.name != name:
        raise UpdateFailed(f"{path}: what was written to {state.incoming} isn't what was fetched; is the disk sound?")
    try:
        _, agreement = check_golden(model, manifest)
    except ModelRefused as error:
        state.refuse(name, str(error))
        raise
    state.adopt(name)
    return Updated(manifest, agreement)
