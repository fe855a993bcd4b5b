"""The certificate that a hub shows to devices: made for the names that they call, and checked before it is shown."""

import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from fedkd.base.errors import InputError
from fedkd.base.files import replace_file
from server.certificates import Signed, authority, server

FOLDER = "tls"
_CA, _CA_KEY, _CERT, _KEY = "ca.pem", "ca.key", "hub.pem", "hub.key"
_EVERY_ADDRESS = {"", "0.0.0.0", "::"}
_HERE = {"localhost", "127.0.0.1", "::1"}
_HOST = re.compile(
    r"(?=.{1,253}$)[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*"
)


def read_certificate(
    cert: Path | None, key: Path | None, host: str = "", now: datetime | None = None
) -> tuple[bytes, bytes]:
    """Read a certificate and its private key, PEM, that devices can use.

    Args:
        cert: The certificate, with those that lead to its authority after it.
        key: Its key.
        host: What devices call; where it is empty or stands for every address, any name will do.
        now: The time at which it must be valid; the clock's where None.

    Raises:
        InputError: One is missing or isn't that, they don't belong together, or no device could use them: it isn't
            valid now, names no host or another one, or isn't a server's.
    """
    if cert is None or key is None:
        raise InputError(
            "--cert and --key are needed: a certificate and its private key, PEM (`fedkd hub init DIR --host NAME`"
            " makes them); or --insecure for no TLS"
        )
    try:
        chain, private = cert.read_bytes(), key.read_bytes()
    except OSError as error:
        raise InputError(f"{error.filename}: {error.strerror}") from None
    try:
        found = x509.load_pem_x509_certificate(chain)
        if load_pem_private_key(private, None).public_key() != found.public_key():
            raise ValueError("they don't belong together")
        why = _unusable(found, host.strip("[]"), now or datetime.now(UTC))
    except (ValueError, TypeError, x509.DuplicateExtension) as error:
        raise InputError(f"--cert {cert}, --key {key}: must be a PEM certificate and its key: {error}") from None
    if why:
        made = f"`fedkd hub init DIR --host {host if host not in _EVERY_ADDRESS else 'NAME'}` makes a right one"
        raise InputError(f"--cert {cert}: no device can use it: {why}; {made}")
    return private, chain


def _unusable(found: x509.Certificate, host: str, now: datetime) -> str:
    """Why no device could use a certificate; empty where it could."""
    if now < found.not_valid_before_utc:
        return f"it is valid from {found.not_valid_before_utc:%Y-%m-%d %H:%M} UTC on, now it is {now:%Y-%m-%d %H:%M}"
    if now >= found.not_valid_after_utc:
        return f"it expired on {found.not_valid_after_utc:%Y-%m-%d %H:%M} UTC"
    held = {type(each.value): each.value for each in found.extensions}
    usage = held.get(x509.ExtendedKeyUsage)
    allowed = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if usage is not None and not allowed & set(usage):
        return "its extended key usage doesn't allow it to be a server's"
    named = names_of(found)
    if not named:
        return "it has no subjectAltName, and its common name counts for nothing"
    if host in _EVERY_ADDRESS or any(_is(host, name) for name in named):
        return ""
    return f"its subjectAltName is {', '.join(named)[:200]}, devices call {host} (--name, else --host)"


def names_of(found: x509.Certificate) -> list[str]:
    """Host names and addresses of a certificate."""
    try:
        held = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [*held.get_values_for_type(x509.DNSName), *map(str, held.get_values_for_type(x509.IPAddress))]


def _is(host: str, name: str) -> bool:
    """Whether a name of a certificate stands for a host; this machine's own names are one."""
    host, name = host.lower().rstrip("."), name.lower().rstrip(".")
    if name.startswith("*."):
        return host.partition(".")[2] == name[2:]
    return host == name or {host, name} <= _HERE or _address(host) == _address(name) is not None


def _address(host: str) -> object:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def own_files(hub: Path) -> tuple[Path | None, Path | None]:
    """The certificate and the key that ``make_certificate`` wrote into a hub's folder; None where it didn't."""
    cert, key = hub / FOLDER / _CERT, hub / FOLDER / _KEY
    return (cert, key) if cert.is_file() and key.is_file() else (None, None)


def make_certificate(hub: Path, hosts: Sequence[str], now: datetime | None = None) -> tuple[Path, Path]:
    """Make a hub's certificate and key, signed by an authority of its own, which is made the first time and then stays.

    Devices that know the authority so believe the next certificate, too.

    Args:
        hub: The hub's folder; files go to ``tls/`` in it.
        hosts: Names and addresses that devices call.
        now: The time from which it is valid; the clock's where None.

    Returns:
        Paths of the authority's certificate, which devices are given, and of the hub's.

    Raises:
        InputError: There is no host, one of them is none, or the authority's files are damaged.
    """
    if not hosts or not all(_HOST.fullmatch(host) or _address(host) for host in hosts):
        raise InputError(f"--host: must be a name or an address that devices call, got {', '.join(hosts) or 'none'!r}")
    if every := [host for host in hosts if host in _EVERY_ADDRESS]:
        raise InputError(f"--host: must be a name or an address that devices call, {every[0]} is none of a machine")
    folder, at = hub / FOLDER, now or datetime.now(UTC)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ca = _authority(folder, at)
    made = server(ca, list(dict.fromkeys([*hosts, "localhost", "127.0.0.1"])), at, "fedkd hub")
    replace_file(folder / _KEY, made.key_pem, 0o600)
    replace_file(folder / _CERT, made.pem)
    return folder / _CA, folder / _CERT


def _authority(folder: Path, now: datetime) -> Signed:
    """The authority in a folder, or a new one where there is none or it is over."""
    cert, key = folder / _CA, folder / _CA_KEY
    if cert.is_file() and key.is_file():
        try:
            found = x509.load_pem_x509_certificate(cert.read_bytes())
            private = load_pem_private_key(key.read_bytes(), None)
            if not isinstance(private, EllipticCurvePrivateKey) or private.public_key() != found.public_key():
                raise ValueError("they don't belong together")
        except (ValueError, TypeError) as error:
            raise InputError(f"{cert}, {key}: must be an authority's certificate and key, PEM: {error}") from None
        if now < found.not_valid_after_utc:
            return Signed(found, private)
    made = authority(now, "fedkd hub CA")
    replace_file(key, made.key_pem, 0o600)
    replace_file(cert, made.pem)
    return made
