"""The keys that sign a repository: ed25519, one per role, each in a file that its owner alone can read.

A file is named by its role and the start of its key's id. Which one signs is what the newest root says, so that neither
making a key nor forgetting to remove an old one changes anything.
"""

import os
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Root

from fedkd.base.errors import InputError

ROLES = ("root", "targets", "snapshot", "timestamp")


def make_key(folder: Path, role: str) -> CryptoSigner:
    """Make a key for a role; it signs nothing until a root names it."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    signer = CryptoSigner.generate_ed25519()
    path = folder / f"{role}-{signer.public_key.keyid[:8]}.pem"
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(signer.private_bytes)
        file.flush()
        os.fsync(file.fileno())
    return signer


def find_key(folder: Path, role: str, root: Root) -> CryptoSigner | None:
    """The key that a root names for a role; None where it is kept elsewhere.

    Raises:
        InputError: A file holds no ed25519 key.
    """
    for path in sorted(folder.glob(f"{role}-*.pem")):
        signer = _read(path)
        if signer.public_key.keyid in root.roles[role].keyids:
            return signer
    return None


def need_key(folder: Path, role: str, root: Root) -> CryptoSigner:
    """The key that a root names for a role.

    Raises:
        InputError: It isn't there.
    """
    signer = find_key(folder, role, root)
    if signer is None:
        keyid = root.roles[role].keyids[0][:8]
        raise InputError(f"{folder / f'{role}-{keyid}.pem'}: missing; without this key nobody can sign {role}")
    return signer


def _read(path: Path) -> CryptoSigner:
    try:
        key = load_pem_private_key(path.read_bytes(), None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError("it is of another kind")
    except (ValueError, TypeError, OSError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path}: must be an ed25519 private key, PEM without a password: {error}") from None
    return CryptoSigner(key)
