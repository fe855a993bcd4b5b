"""The TUF repository of a hub: a folder that devices trust for its signatures, wherever it lies.

    DIR/keys/         private keys; none of them is served
    DIR/tls/          the certificate that devices see, its authority's, and their keys; see ``server.hub.certificate``
    DIR/repository/   metadata/ and targets/, for ``fedkd hub serve`` or any web server

``timestamp.json`` is written last. An interrupted publication therefore changes nothing: it leaves files that nobody
reads, and that the next one writes again.

Reference:
    The Update Framework, specification 1.0, section 6.2 (consistent snapshots) and 5 (what clients check).
"""

import fcntl
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import MetaFile, Root, TargetFile

from clients.device.protocol.manifest import Manifest, unpack
from fedkd.base.errors import InputError
from fedkd.base.files import replace_file
from server.hub.keys import ROLES, find_key, make_key, need_key
from server.hub.store import Published, Store, first

log = logging.getLogger(__name__)

_MANIFEST = "/manifest.json"
# What has to be signed anew once a role has another key.
_SIGN_AFTER = {
    "root": ("timestamp",),
    "targets": ("snapshot", "timestamp"),
    "snapshot": ("timestamp",),
    "timestamp": (),
}
_OWN = {"keys", "repository", "tls", "reports.jsonl", ".lock"}


class Repository:
    """A hub's folder.

    Args:
        folder: DIR above.
        now: The time from which lifetimes count; the clock's where None.
    """

    def __init__(self, folder: Path, now: datetime | None = None) -> None:
        """Reads nothing yet."""
        self.folder, self.keys, self.served = folder, folder / "keys", folder / "repository"
        self.targets = self.served / "targets"
        self.store = Store(self.served / "metadata", (now or datetime.now(UTC)).replace(microsecond=0))

    @property
    def first_root(self) -> Path:
        """What a device trusts when it is installed."""
        return self.store.folder / "1.root.json"

    def check_place(self) -> None:
        """Raise InputError where the folder holds something else than a hub."""
        if self.folder.exists() and not self.folder.is_dir():
            raise InputError(f"--hub {self.folder}: must be a folder, it is a file")
        strangers = {path.name for path in self.folder.iterdir()} - _OWN if self.folder.exists() else set()
        if strangers and not self.store.has_root():
            raise InputError(f"--hub {self.folder}: must be a new folder or a hub's, this one holds {min(strangers)!r}")

    def create(self) -> bool:
        """Make keys and the first root where there is no root; say whether there was none.

        Raises:
            InputError: The folder holds something else.
        """
        self.check_place()
        if self.store.has_root():
            return False
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            if self.store.has_root():  # of somebody who came here at the same time
                return False
            for place in (self.store.folder, self.targets):
                place.mkdir(parents=True, exist_ok=True)
            root, signers = first(Root()), {role: make_key(self.keys, role) for role in ROLES}
            for role, signer in signers.items():
                root.signed.add_key(signer.public_key, role)
            self.store.write(root, signers["root"])
        return True

    def publish(self, files: Mapping[str, bytes], after: int | None = None) -> None:
        """Add or replace targets, for whoever reads all at once.

        Args:
            files: Their bytes by path, ``channel/name``.
            after: Version of the targets that they follow, see ``version``; None for any.

        Raises:
            InputError: There is no repository, a key is missing, metadata are damaged, or others published meanwhile.
        """
        self.store.root()
        with self._alone():
            for role in ("targets", "snapshot", "timestamp"):
                need_key(self.keys, role, self.store.root().signed)
            published = self.store.published()
            if after not in (None, published.targets.signed.version):
                raise InputError(f"--hub {self.folder}: somebody else published there just now; publish again")
            for path, data in files.items():
                info = TargetFile.from_data(path, data)
                place = self._place(info)
                place.parent.mkdir(parents=True, exist_ok=True)
                replace_file(place, data)
                published.targets.signed.targets[path] = info
            self._sign(published, ["targets", "snapshot", "timestamp"])

    def refresh(self) -> list[str]:
        """Sign the timestamp anew, and each other role whose key is here and that is due; return what was signed.

        Raises:
            InputError: There is no repository, nothing in it, or the timestamp's key is missing.
        """
        self.store.root()
        with self._alone():
            published, root = self._something(), self.store.root()
            signer = find_key(self.keys, "root", root.signed)
            renewed = []
            if signer and self.store.due(root, root):
                self.store.write(root, signer)
                renewed.append("root")
            for role, metadata in (("targets", published.targets), ("snapshot", published.snapshot)):
                follows = "targets" in renewed
                if (follows or self.store.due(metadata, root)) and find_key(self.keys, role, root.signed):
                    renewed.append(role)
            self._sign(published, [*renewed, "timestamp"])
            return [*renewed, "timestamp"]

    def rotate(self, role: str) -> list[str]:
        """Give a role a new key; devices learn of it from the next root. Return what was signed.

        Raises:
            InputError: There is no such role, nothing was published, or a key that signs it is missing.
        """
        if role not in ROLES:
            raise InputError(f"a role must be one of {', '.join(ROLES)}, got {role!r}")
        self.store.root()
        with self._alone():
            self._something()
            root = self.store.root()
            old = need_key(self.keys, "root", root.signed)
            for other in _SIGN_AFTER[role]:  # before the new root makes void what they signed
                need_key(self.keys, other, root.signed)
            new = make_key(self.keys, role)
            for keyid in list(root.signed.roles[role].keyids):
                root.signed.revoke_key(keyid, role)
            root.signed.add_key(new.public_key, role)
            self.store.write(root, *((old, new) if role == "root" else (old,)))
        return ["root", *self.refresh()]

    def overdue(self) -> dict[str, datetime]:
        """When each role expires that is due and that nobody signed, for its key isn't here.

        A role that isn't signed by the key that the newest root names is over since this root.
        """
        published, root = self._something(), self.store.root()
        signed = {"root": root, **vars(published)}
        return {role: self.store.end(signed[role], root) for role in ROLES if self.store.due(signed[role], root)}

    def version(self) -> int:
        """Version of what is published, 0 for nothing."""
        return int(self.store.published().targets.signed.version)

    def paths(self) -> list[str]:
        """Paths of the published targets."""
        return sorted(self.store.published().targets.signed.targets)

    def read(self, path: str) -> bytes | None:
        """Bytes of a published target; None where there is none.

        Raises:
            InputError: They aren't those that were signed.
        """
        info = self.store.published().targets.signed.targets.get(path)
        if info is None:
            return None
        try:
            data = self._place(info).read_bytes()
            info.verify_length_and_hashes(data)
        except (RepositoryError, OSError) as error:
            raise InputError(f"{self._place(info)}: not what was published as {path}: {error}") from None
        return data

    def manifests(self) -> dict[str, Manifest]:
        """The newest manifest of each channel that has a sound one, by its name; others are named in a warning."""
        found = {}
        for path in (path for path in self.paths() if path.endswith(_MANIFEST)):
            try:
                found[path.removesuffix(_MANIFEST)] = unpack(self.read(path) or b"")
            except (ValueError, InputError) as error:  # the other channels are served all the same
                log.warning("%s: %s", path, error)
        return found

    def _something(self) -> Published:
        self.store.root()
        published = self.store.published()
        if not published.targets.signed.targets:
            raise InputError(f"{self.folder}: nothing is published there yet; `fedkd publish RUN --hub {self.folder}`")
        return published

    def _sign(self, published: Published, roles: list[str]) -> None:
        """Write new versions of some roles, what others name first."""
        root = self.store.root().signed
        for role in ("targets", "snapshot", "timestamp"):
            if role not in roles:
                continue
            if role == "snapshot":
                published.snapshot.signed.meta["targets.json"] = MetaFile(published.targets.signed.version)
            if role == "timestamp":
                published.timestamp.signed.snapshot_meta = MetaFile(published.snapshot.signed.version)
            self.store.write(getattr(published, role), need_key(self.keys, role, root))

    def _place(self, info: TargetFile) -> Path:
        folder, _, name = info.path.rpartition("/")
        return self.targets / folder / f"{info.hashes['sha256']}.{name}"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other processes from signing meanwhile: cron may refresh while somebody publishes."""
        with open(self.folder / ".lock", "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
