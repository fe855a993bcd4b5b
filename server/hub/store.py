"""A repository's signed metadata on the disk."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from fedkd.base.errors import InputError
from fedkd.base.files import replace_file

LIFETIME = {
    "root": timedelta(days=365),
    "targets": timedelta(days=90),
    "snapshot": timedelta(days=90),
    "timestamp": timedelta(days=7),
}


@dataclass(eq=False)
class Published:
    """What a device gets to see, or of a new repository the first that it will.

    Args:
        timestamp: It leads to the others.
        snapshot: Version of the targets.
        targets: Sizes and hashes of files.
    """

    timestamp: "Metadata[Timestamp]"
    snapshot: "Metadata[Snapshot]"
    targets: "Metadata[Targets]"


def first(signed: Any) -> "Metadata[Any]":
    """Metadata that weren't written yet."""
    signed.version = 0
    return Metadata(signed)


class Store:
    """The folder ``metadata``.

    Args:
        folder: Its path.
        now: The time from which lifetimes count.
    """

    def __init__(self, folder: Path, now: datetime) -> None:
        """Reads nothing yet."""
        self.folder, self.now = folder, now

    def has_root(self) -> bool:
        """Whether there is a repository."""
        return (self.folder / "1.root.json").exists()

    def root(self) -> "Metadata[Root]":
        """The newest root.

        Raises:
            InputError: There is none, or it can't be read.
        """
        if not self.has_root():
            raise InputError(f"{self.folder}: no TUF repository; `fedkd publish RUN --hub DIR` makes one")
        newest = max(int(path.name.split(".")[0]) for path in self.folder.glob("*.root.json"))
        return self._read(Root, f"{newest}.root.json")

    def published(self) -> Published:
        """What ``timestamp.json`` leads to; files beyond it are of a publication that was interrupted.

        Raises:
            InputError: Something can't be read.
        """
        if not (self.folder / "timestamp.json").exists():
            return Published(first(Timestamp()), first(Snapshot()), first(Targets()))
        timestamp = self._read(Timestamp, "timestamp.json")
        snapshot = self._read(Snapshot, f"{timestamp.signed.snapshot_meta.version}.snapshot.json")
        targets = self._read(Targets, f"{snapshot.signed.meta['targets.json'].version}.targets.json")
        return Published(timestamp, snapshot, targets)

    def write(self, metadata: "Metadata[Any]", *signers: CryptoSigner) -> None:
        """Write metadata's next version, signed anew, with its whole life before it."""
        signed, role = metadata.signed, metadata.signed.type
        signed.version += 1
        signed.expires = self.now + LIFETIME[role]
        metadata.signatures.clear()
        for signer in signers:
            metadata.sign(signer, append=True)
        name = "timestamp.json" if role == "timestamp" else f"{signed.version}.{role}.json"
        replace_file(self.folder / name, metadata.to_bytes())

    def due(self, metadata: "Metadata[Any]", root: "Metadata[Root]") -> bool:
        """Whether metadata are past half of their life, or not signed by the key that the root names."""
        return self.end(metadata, root) - self.now < LIFETIME[metadata.signed.type] / 2

    def end(self, metadata: "Metadata[Any]", root: "Metadata[Root]") -> datetime:
        """When devices stop trusting metadata: now, where they aren't signed by the key that the root names."""
        try:
            root.signed.verify_delegate(metadata.signed.type, metadata.signed_bytes, metadata.signatures)
        except RepositoryError:
            return self.now
        found: datetime = metadata.signed.expires
        return found

    def _read(self, kind: type[Any], name: str) -> "Metadata[Any]":
        try:
            found: Metadata[Any] = Metadata.from_file(str(self.folder / name))
            if not isinstance(found.signed, kind):
                raise RepositoryError(f"it is of role {found.signed.type}")
        except (RepositoryError, OSError) as error:
            raise InputError(f"{self.folder / name}: no TUF metadata: {error}") from None
        return found
