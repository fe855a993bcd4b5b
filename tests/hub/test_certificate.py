"""Laws of a hub's certificate: what no device could use is refused at the start, what `fedkd hub init` makes works."""

import stat
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from typer.testing import CliRunner

from clients.device.hub import Hub, Profile
from fedkd.base.errors import InputError
from server.hub.certificate import make_certificate, own_files, read_certificate
from server.hub.repository import Repository
from server.hub.service import serving
from sims.cli import app
from tests.device.models import release

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def written(folder, names=("hub.example", "*.device.example"), start=-DAY, end=DAY, usage=None):
    key, subject = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub")])
    made = x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
    made = made.not_valid_before(NOW + start).not_valid_after(NOW + end)
    if names:
        held = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
        made = made.add_extension(held, critical=False)
    if usage:
        made = made.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    cert, private = folder / "cert.pem", folder / "cert.key"
    cert.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, plain))
    return cert, private


@pytest.mark.parametrize(
    "given, host, why",
    [
        ({"names": ()}, "", "it has no subjectAltName, and its common name counts for nothing"),
        ({"end": -timedelta(hours=1)}, "", "it expired on "),
        ({"start": timedelta(hours=1)}, "", "it is valid from "),
        ({"usage": ExtendedKeyUsageOID.CLIENT_AUTH}, "", "doesn't allow it to be a server's"),
        ({}, "other.example", "its subjectAltName is hub.example, *.device.example, devices call other.example"),
        ({}, "127.0.0.1", "devices call 127.0.0.1"),
        ({}, "a.b.device.example", "devices call a.b.device.example"),
    ],
)
def test_a_certificate_that_no_device_can_use_is_refused_in_one_line(tmp_path, given, host, why):
    with pytest.raises(InputError, match="no device can use it") as refused:
        read_certificate(*written(tmp_path, **given), host)
    assert why in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "`fedkd hub init DIR --host" in str(refused.value)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "[::]", "hub.example", "HUB.example", "a.device.example"])
def test_a_certificate_of_what_devices_call_is_taken(tmp_path, host):
    cert = written(tmp_path, usage=ExtendedKeyUsageOID.SERVER_AUTH)
    assert read_certificate(*cert, host)[1] == cert[0].read_bytes()


def fedkd(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_serve_says_so_before_it_listens(tmp_path):
    hub = tmp_path / "hub"
    assert fedkd("hub", "init", hub, "--host", "hub.example").exit_code == 0
    cert, key = written(tmp_path, names=())
    done = fedkd("hub", "serve", hub, "--port", 0, "--cert", cert, "--key", key)
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert "no subjectAltName" in done.output
    done = fedkd("hub", "serve", hub, "--port", 0, "--host", "0.0.0.0", "--name", "other.example")
    assert done.exit_code == 2
    assert "devices call other.example" in done.output


def test_what_init_makes_is_believed_by_devices_that_know_its_authority(tmp_path):
    """And what it makes next, too."""
    hub = tmp_path / "hub"
    done = fedkd("hub", "init", hub, "--host", "localhost", "--host", "10.0.0.7")
    assert done.exit_code == 0, done.output
    assert f"devices take: --ca {hub / 'tls/ca.pem'} --root " in done.output.replace("\n", " ")
    repository = Repository(hub)
    repository.publish(release(1, (1, 0, 0)))
    authority, seen = (hub / "tls/ca.pem").read_bytes(), set()
    for _ in range(2):
        pair = read_certificate(*own_files(hub), "10.0.0.7")
        seen.add(pair)
        with serving(repository, "127.0.0.1:0", pair) as (_, port):
            device = Hub(f"localhost:{port}", hub / "tls/ca.pem")
            assert device.check_in(Profile(("default",))) == "default"
            device.close()
        assert fedkd("hub", "init", hub, "--host", "10.0.0.7").exit_code == 0
    assert len(seen) == 2
    assert (hub / "tls/ca.pem").read_bytes() == authority
    assert {stat.S_IMODE(path.stat().st_mode) for path in (hub / "tls").glob("*.key")} == {0o600}
    assert not list(repository.served.rglob("*.key"))


@pytest.mark.parametrize("host", ["", "0.0.0.0", "hub example", "https://hub", "ü.example", "a" * 300, "::"])
def test_a_certificate_is_made_for_what_devices_call(tmp_path, host):
    done = fedkd("hub", "init", tmp_path / "hub", "--host", host)
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert "--host: must be a name or an address that devices call" in done.output
    assert not (tmp_path / "hub/keys").exists()


def test_damaged_files_of_an_authority_are_one_line(tmp_path):
    make_certificate(tmp_path, ["hub"])
    (tmp_path / "tls/ca.key").write_text("x")
    with pytest.raises(InputError, match="must be an authority's certificate and key"):
        make_certificate(tmp_path, ["hub"])
    make_certificate(tmp_path / "old", ["hub"], NOW - 900 * DAY)
    make_certificate(tmp_path / "old", ["hub"])
    assert read_certificate(*own_files(tmp_path / "old"), "hub")
