"""The certificate that a hub shows to devices."""

from pathlib import Path

from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

from fedkd.base.errors import InputError


def read_certificate(cert: Path | None, key: Path | None) -> tuple[bytes, bytes]:
    """Read a certificate and its private key, PEM.

    Raises:
        InputError: One is missing or isn't that, or they don't belong together.
    """
    if cert is None or key is None:
        raise InputError(
            "--cert and --key are needed: a certificate and its private key, PEM; or --insecure for no TLS"
        )
    try:
        chain, private = cert.read_bytes(), key.read_bytes()
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from None
    try:
        public = load_pem_x509_certificate(chain).public_key()
        if load_pem_private_key(private, None).public_key() != public:
            raise ValueError("they don't belong together")
    except (ValueError, TypeError) as error:
        raise InputError(f"--cert {cert}, --key {key}: must be a PEM certificate and its key: {error}") from None
    return private, chain
