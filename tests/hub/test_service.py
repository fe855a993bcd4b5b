"""A hub and devices over TLS, and over any web server."""

import http.server
import json
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tuf.api.exceptions import DownloadError
from tuf.ngclient import Updater

from clients.device.classify import classify
from clients.device.errors import UpdateFailed
from clients.device.hub import Hub, Profile
from clients.device.protocol import hub_pb2, hub_pb2_grpc
from clients.device.state import State
from clients.device.update import update
from clients.device.web import Web
from fedkd.base.errors import InputError, RunError
from server.hub.certificate import read_certificate
from server.hub.service import CHUNK, served_file, serving
from tests.device.hubs import hub
from tests.device.models import release
from tests.hub.certificates import self_signed

ANY = Profile(("default",))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def made(place):
    """A hub with a channel, a second one whose model is smaller in what it says, and a file of several chunks."""
    found = hub(place / "hub", release(2, (1, 0, 0)), release(1, (0, 1, 0), "small", ram_bytes=10))
    found.publish({"big/x.bin": bytes(range(256)) * 1024})
    return found


@pytest.fixture(scope="module")
def certificate(place):
    return self_signed(place)


@pytest.fixture(scope="module")
def port(made, certificate):
    with serving(made, "127.0.0.1:0", read_certificate(*certificate)) as (_, port):
        yield port


@pytest.fixture
def link(port, certificate):
    found = Hub(f"localhost:{port}", certificate[0])
    yield found
    found.close()


def test_a_device_fetches_runs_and_reports_over_tls(link, made, tmp_path):
    assert link.check_in(ANY) == "default"
    state = State(tmp_path)
    found = update(state, link, made.first_root.read_bytes(), ["default"])
    assert found.manifest.version == 2
    assert classify(state, None)["answers"][0] == {"label": "red", "class": 0, "logit": 2.0}
    link.report(device="device", channel="default", version=2, latency_ms=0.25, agreement=1.0, failure="")
    (row,) = [json.loads(line) for line in (made.folder / "reports.jsonl").read_text().splitlines()]
    assert {key: row[key] for key in ("device", "version", "latency_ms", "agreement")} == {
        "device": "device", "version": 2, "latency_ms": 0.25, "agreement": 1.0,
    }  # fmt: skip


def test_the_first_channel_that_fits_is_advised(link):
    profile = Profile(("default", "small"), ram_bytes=20)
    assert link.check_in(profile) == "small"
    with pytest.raises(UpdateFailed, match=r"nothing for this device: default 2 needs 36 bytes of RAM, .* gives 20"):
        link.check_in(Profile(("default",), ram_bytes=20))
    with pytest.raises(UpdateFailed, match="no channel 'none'"):
        link.check_in(Profile(("none",)))


def test_advice_of_a_channel_that_the_device_does_not_follow_is_refused(link, monkeypatch):
    monkeypatch.setattr(link, "_stub", type("Stub", (), {"CheckIn": lambda *a, **k: hub_pb2.Advice(channel="evil")}))
    with pytest.raises(UpdateFailed, match="the hub has nothing for this device: 'evil'"):
        link.check_in(ANY)


def test_files_come_in_chunks_from_any_offset(link, made):
    (stored,) = (made.targets / "big").iterdir()
    data, path = stored.read_bytes(), f"targets/big/{stored.name}"
    for offset in (0, 1, CHUNK, len(data) - 1, len(data), len(data) + 1):
        start, chunks = link.read(path, offset, 10)
        parts = list(chunks)
        assert b"".join(parts) == data[start:]
        assert max(map(len, parts), default=0) <= CHUNK


@pytest.mark.parametrize(
    "path",
    ["", "metadata", "keys/root.pem", "../keys", "metadata/../../keys", "/etc/passwd", "metadata//1.root.json",
     "metadata/./1.root.json", "targets\\..", "metadata/\0", "targets/.hidden", "metadata/nothing.json", "x" * 10_000,
     "metadata/" + "x" * 300, "metadata/\ud800"],
)  # fmt: skip
def test_paths_outside_the_repository_lead_nowhere(made, path):
    assert served_file(made.served, path) is None
    assert served_file(made.served, "metadata/1.root.json") is not None


def test_links_out_of_the_repository_lead_nowhere(made):
    link = made.targets / "link"
    link.symlink_to(made.keys)
    key = next(made.keys.iterdir()).name
    assert served_file(made.served, f"targets/link/{key}") is None
    link.unlink()


def test_health_is_served(port, certificate):
    known = grpc.ssl_channel_credentials(certificate[0].read_bytes())
    with grpc.secure_channel(f"localhost:{port}", known) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_too_large_a_message_is_refused(port, certificate):
    known = grpc.ssl_channel_credentials(certificate[0].read_bytes())
    with grpc.secure_channel(f"localhost:{port}", known) as channel:
        stub = hub_pb2_grpc.HubStub(channel)
        with pytest.raises(grpc.RpcError) as failed:
            stub.Report(hub_pb2.Outcome(failure="x" * 100_000), timeout=10)
    assert failed.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.mark.parametrize("insecure", [True, False])
def test_a_hub_of_another_certificate_or_without_tls_is_no_hub(port, tmp_path, insecure):
    ca = None if insecure else self_signed(tmp_path, "other")[0]
    stranger = Hub(f"localhost:{port}", ca, insecure)
    with pytest.raises(UpdateFailed, match=f"hub localhost:{port}: unavailable"):
        stranger.check_in(ANY)
    stranger.close()


def test_a_taken_port_and_missing_certificates_are_one_line(made, port, tmp_path, certificate):
    with (
        pytest.raises(RunError, match=r"127.0.0.1:\d+: can't listen there"),
        serving(made, f"127.0.0.1:{port}", None),
    ):
        pass
    with pytest.raises(InputError, match="--cert and --key are needed"):
        read_certificate(certificate[0], None)
    with pytest.raises(InputError, match="they don't belong together"):
        read_certificate(certificate[0], self_signed(tmp_path, "other")[1])
    with pytest.raises(InputError, match="No such file"):
        read_certificate(tmp_path / "none", certificate[1])


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def web(folder, handler=Quiet):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_the_same_files_serve_devices_behind_any_web_server(made, tmp_path):
    """And python-tuf's own client: it is a TUF repository like any other."""
    root = made.first_root.read_bytes()
    with web(made.served) as url:
        assert update(State(tmp_path / "device"), Web(url), root, ["default"]).manifest.version == 2
        (tmp_path / "tuf").mkdir()
        plain = Updater(str(tmp_path / "tuf"), f"{url}/metadata/", str(tmp_path), f"{url}/targets/", bootstrap=root)
        path = plain.download_target(plain.get_targetinfo("default/manifest.json"))
        assert json.loads(Path(path).read_bytes())["version"] == 2
        start, chunks = Web(url).read("metadata/1.root.json", 5, 10)
        assert b"".join(chunks) == root[start:]
    with pytest.raises(UpdateFailed, match=r"the hub can't be reached: DownloadError: http://127.0.0.1:\d+ can't be"):
        update(State(tmp_path / "other"), Web(url), root, ["default"])


class Ranges(Quiet):
    """Knows ``Range: bytes=N-``, as most web servers do and Python's doesn't."""

    def do_GET(self):
        data = Path(self.translate_path(self.path)).read_bytes()
        start = int(self.headers.get("Range", "bytes=0-")[len("bytes=") : -1])
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start:])


def test_an_interrupted_fetch_goes_on_over_the_web_where_it_stopped(made):
    root = made.first_root.read_bytes()
    with web(made.served, Ranges) as url:
        start, chunks = Web(url).read("metadata/1.root.json", 5, 10)
        assert (start, b"".join(chunks)) == (5, root[5:])


class Trickling(http.server.BaseHTTPRequestHandler):
    """Sends a byte every .05 s, of the body or already of the headers, for 20 s at most."""

    body = True

    def do_GET(self):
        head = b"HTTP/1.0 200 OK\r\nContent-Length: 9999\r\n"
        self.wfile.write(head + (b"\r\n" if self.body else b"X-Slow: "))
        with suppress(OSError):
            for _ in range(400):
                self.wfile.write(b"x")
                time.sleep(0.05)

    def log_message(self, *_):
        pass


@pytest.mark.parametrize("body", [True, False])
def test_a_web_server_that_trickles_holds_nobody_up(made, tmp_path, monkeypatch, body):
    monkeypatch.setattr(Trickling, "body", body)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Trickling)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    source, start = Web(f"http://127.0.0.1:{server.server_port}"), time.monotonic()
    try:
        with pytest.raises(UpdateFailed, match="the hub is too slow" if body else "the hub can't be reached|too slow"):
            update(State(tmp_path), source, made.first_root.read_bytes(), ["default"], seconds=2)
        assert time.monotonic() - start < 15  # the server goes on for 20, and this machine may be busy
    finally:
        server.shutdown()
        server.server_close()


def test_a_hub_that_trickles_over_grpc_is_left_in_time(link, made):
    """What is left of the time is the call's."""
    with pytest.raises(DownloadError, match="deadline_exceeded"):
        b"".join(link.read("metadata/1.root.json", 0, 1e-6)[1])


def test_calls_that_never_say_anything_leave_room_for_others(made):
    """As many as the hub takes in all, on one connection, which may have four."""
    silent = threading.Event()

    def nothing():
        silent.wait(30)
        yield from ()

    with serving(made, "127.0.0.1:0", None) as (_, port), grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.stream_unary("/fedkd.hub.v1.Hub/CheckIn", request_serializer=bytes)
        held = [call.future(nothing()) for _ in range(24)]
        time.sleep(0.5)
        other = Hub(f"127.0.0.1:{port}", insecure=True)
        assert other.check_in(ANY) == "default"
        other.close()
        silent.set()
        for one in held:
            one.cancel()


def test_a_channel_whose_manifest_is_damaged_leaves_the_others(tmp_path):
    damaged = hub(tmp_path / "hub", release(1, (1, 0, 0)), {"bad/manifest.json": b"{}"}, {"odd/manifest.json": b""})
    with serving(damaged, "127.0.0.1:0", None) as (_, port):
        found = Hub(f"127.0.0.1:{port}", insecure=True)
        assert found.check_in(Profile(("bad", "odd", "default"))) == "default"
        (damaged.store.folder / "timestamp.json").write_bytes(b"{")
        with pytest.raises(UpdateFailed, match=r"unavailable: the hub's repository is damaged$"):
            found.check_in(ANY)
        found.close()
