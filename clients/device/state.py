"""A device's folder: the trusted root, and two generations of the model, whenever the power goes.

root.json        root of trust, given when the device was installed
device           the device's own name
lock             held by the one process that uses the folder
metadata/        what TUF has seen: nothing older is trusted again
download/        files on their way; an interrupted one goes on where it stopped
incoming/        a verified model that is tried
models/NAME/     manifest.json and model.tflite that passed; NAME is the manifest's SHA-256, which names the model's
pointer.json     names of the current model and of the one before
refused.json     the signed models that failed here, by name: why, and how often
"""

import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients.device import durable
from clients.device.errors import WrongInput
from clients.device.protocol.manifest import Manifest, digest, unpack

_TRIES = 3
_REMEMBERED = 8


@dataclass(frozen=True, eq=False)
class Generation:
    """A model on the disk whose bytes are those of its manifest.

    Args:
        name: SHA-256 of the manifest.
        model: The .tflite file.
        manifest: What it is.
    """

    name: str
    model: Path
    manifest: Manifest


def generation(folder: Path) -> Generation | None:
    """Read a generation back; None where its bytes aren't the ones that were signed."""
    try:
        written = (folder / "manifest.json").read_bytes()
        manifest, model = unpack(written), folder / "model.tflite"
        with open(model, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() == manifest.file["sha256"]:
                return Generation(digest(written), model, manifest)
    except (OSError, ValueError):
        pass
    return None


class State:
    """A device's folder.

    Args:
        folder: Is made where it isn't there.
    """

    def __init__(self, folder: Path) -> None:
        """Make the folders."""
        self.folder = folder
        self.metadata, self.download = folder / "metadata", folder / "download"
        self.incoming, self.models = folder / "incoming", folder / "models"
        for place in (self.metadata, self.download, self.models):
            place.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other processes off the folder.

        Raises:
            WrongInput: Another one has it.
        """
        path = self.folder / "lock"
        with open(path, "r" if path.exists() else "a") as lock:  # a card that went read-only still has its model
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise WrongInput(f"--state {self.folder}: another fedkd-device uses this folder") from None
            yield

    def trust(self, root: bytes | None) -> bytes:
        """The root of trust: the one given now, once, or the one given before.

        Raises:
            WrongInput: There is none, or another one.
        """
        path = self.folder / "root.json"
        held = path.read_bytes() if path.exists() else None
        if root is None and held is None:
            raise WrongInput(
                "--root FILE is needed the first time: metadata/1.root.json of the hub, from a trusted place"
            )
        if root is not None and held is not None and root != held:
            raise WrongInput(
                f"--root: {self.folder} trusts another root already; leave --root out, or use another --state"
            )
        if held is None and root is not None:
            durable.replace(path, root)
        return held or root or b""

    def device(self) -> str:
        """The device's own name, made once."""
        path = self.folder / "device"
        if not path.exists():
            durable.replace(path, uuid.uuid4().hex.encode())
        return path.read_text(errors="replace")[:64]

    def candidates(self) -> Iterator[Generation]:
        """Models that may run, best first: the current one, the one before, and any other that passed."""
        pointer, seen = self._pointer(), set()
        others = sorted(path.name for path in self.models.iterdir())
        found = [generation(self.models / name) for name in (*pointer, *others) if name]
        named = {item.name: item for item in found if item and item.model.parent.name == item.name}
        by_version = sorted(named.values(), key=lambda item: -item.manifest.version)
        for item in (*(named[name] for name in pointer if name in named), *by_version):
            if item.name not in seen:
                seen.add(item.name)
                yield item

    def current(self) -> Generation | None:
        """The model that runs."""
        return next(self.candidates(), None)

    def clear(self) -> None:
        """Remove what interrupted updates left, but for the last two downloads: a manifest's and a model's."""
        shutil.rmtree(self.incoming, ignore_errors=True)
        for path in self.metadata.glob("tmp*"):
            path.unlink(missing_ok=True)
        parts = sorted(self.download.glob("*.part"), key=lambda path: path.stat().st_mtime)
        for path in parts[:-2]:
            path.unlink(missing_ok=True)
        self._prune()

    def adopt(self, name: str) -> None:
        """Make the model in ``incoming`` the current one: it is there and named by one atomic replacement.

        Args:
            name: SHA-256 of its manifest.
        """
        before = self.current()
        target = self.models / name
        if target.exists():
            shutil.rmtree(target)  # damaged, or it would have been run
        durable.rename(self.incoming, target)
        self._point(name, before.name if before else None)
        self._prune()

    def fall_back(self, broken: Generation, why: str) -> None:
        """Give up a model that ran when it was tried and doesn't any more; the next update may bring it back."""
        with suppress(OSError):  # a full disk must not keep the model before from running
            self.refuse(broken.name, why)
            others = [item.name for item in self.candidates() if item.name != broken.name]
            self._point(others[0] if others else None, None)
            shutil.rmtree(broken.model.parent, ignore_errors=True)

    def refuse(self, name: str, reason: str) -> None:
        """Note that a signed model failed here."""
        held = self._refused()
        times = held.pop(name, {"times": 0})["times"] + 1
        last = list(held.items())[1 - _REMEMBERED :]
        fields = {**dict(last), name: {"reason": reason, "times": times}}
        durable.replace(self.folder / "refused.json", json.dumps(fields).encode())

    def refused(self, name: str) -> str:
        """Why a model isn't tried any more, for it failed here too often; empty where it may be."""
        held = self._refused().get(name, {"times": 0})
        if held["times"] < _TRIES:
            return ""
        return f"this version failed here before and isn't tried again: {held.get('reason')}"

    def _refused(self) -> dict[str, Any]:
        held = self._read("refused.json").items()
        return {name: item for name, item in held if isinstance(item, dict) and type(item.get("times")) is int}

    def _point(self, current: str | None, previous: str | None) -> None:
        fields = {"current": current, "previous": previous}
        durable.replace(self.folder / "pointer.json", json.dumps(fields).encode())

    def _pointer(self) -> tuple[str, str]:
        held = self._read("pointer.json")
        return os.path.basename(str(held.get("current") or "")), os.path.basename(str(held.get("previous") or ""))

    def _prune(self) -> None:
        """Remove all but the current model and the one before, once there are these."""
        keep = {item.name for _, item in zip(range(2), self.candidates(), strict=False)}
        for path in self.models.iterdir():
            if path.name not in keep:
                shutil.rmtree(path, ignore_errors=True)

    def _read(self, name: str) -> dict[str, Any]:
        try:
            held = json.loads((self.folder / name).read_bytes())
            return held if isinstance(held, dict) else {}
        except (OSError, ValueError):
            return {}
