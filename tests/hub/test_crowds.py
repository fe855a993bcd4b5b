"""Laws of a hub in a crowd: who says nothing takes no one's place, and many devices at once are all served."""

import logging
import socket
import threading
import time

import pytest

from clients.device.hub import Hub, Profile
from clients.device.state import State
from clients.device.update import update
from server.hub import front
from server.hub.certificate import read_certificate
from server.hub.front import Limits, fitting
from server.hub.service import serving
from tests.device.hubs import hub
from tests.device.models import release
from tests.hub.certificates import self_signed
from tests.hub.crowds import WAYS, crowd, longest_check_in, tcp

ANY = Profile(("default",))


@pytest.fixture
def made(tmp_path):
    return hub(tmp_path / "hub", release(1, (1, 0, 0)))


@pytest.fixture
def served(made, tmp_path):
    """Serves with some limits: port and certificate."""
    certificate = self_signed(tmp_path)

    def serve(**limits):
        return serving(made, "127.0.0.1:0", read_certificate(*certificate), Limits(**limits))

    return serve, certificate[0]


def closed_after(connection):
    """Seconds until the hub closes a connection."""
    start = time.monotonic()
    connection.settimeout(10)
    try:
        while connection.recv(1000):
            pass
    except ConnectionError:
        pass
    return time.monotonic() - start


@pytest.mark.parametrize("way", WAYS)
def test_a_connection_has_so_many_seconds_to_send_its_request(served, way, caplog):
    serve, ca = served
    with serve(seconds=0.5) as (_, port), caplog.at_level(logging.WARNING), way(port, ca) as silent:
        assert closed_after(silent) < 3
        time.sleep(0.1)
    assert "127.0.0.1 turned away: it sent no request within 0.5 s" in caplog.messages


def test_a_peer_that_has_asked_may_rest_and_ask_again(served):
    serve, ca = served
    with serve(seconds=0.5) as (_, port):
        device = Hub(f"localhost:{port}", ca)
        assert device.check_in(ANY) == "default"
        time.sleep(1.2)
        assert device.check_in(ANY) == "default"
        device.close()


def test_the_longest_silent_of_a_peer_makes_room_for_its_next_one(served, caplog):
    serve, ca = served
    with serve(seconds=30, each=3, grace=0) as (held, port), caplog.at_level(logging.WARNING):
        first, second, third = (tcp(port, ca) for _ in range(3))
        while len(held._held) < 3:
            time.sleep(0.01)
        device = Hub(f"localhost:{port}", ca)
        assert device.check_in(ANY) == "default"
        assert closed_after(first) < 1
        second.setblocking(False)
        with pytest.raises(BlockingIOError):
            second.recv(1)
        for each in (first, second, third):
            each.close()
        device.close()
    assert caplog.messages == ["127.0.0.1 turned away: 127.0.0.1 had 3 connections open"]


def test_peers_have_room_of_their_own(served):
    """127.0.0.2 is this machine's, too, and another peer."""
    serve, ca = served
    with serve(seconds=30, each=2) as (held, port):
        strangers = []
        for _ in range(9):
            stranger = socket.socket()
            stranger.bind(("127.0.0.2", 0))
            stranger.connect(("127.0.0.1", port))
            strangers.append(stranger)
        device = Hub(f"localhost:{port}", ca)
        assert device.check_in(ANY) == "default"
        assert [each.peer for each in held._held.values()].count("127.0.0.2") <= 2
        device.close()
        for stranger in strangers:
            stranger.close()


@pytest.mark.parametrize(
    "host, peer",
    [("10.0.0.1", "10.0.0.1"), ("::ffff:10.0.0.1", "10.0.0.1"), ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
     ("fe80::1%eth0", "fe80::/64")],
)  # fmt: skip
def test_a_peer_is_an_address_or_the_network_of_one(host, peer):
    assert front._peer(host) == peer


def test_the_log_has_one_line_a_minute_for_each_peer_and_not_too_many(tmp_path, caplog):
    held = front.Front(tmp_path / "hub", Limits())
    with caplog.at_level(logging.WARNING):
        for number in range(500):
            held.turned_away(f"10.0.{number % 100}.1", "why")
    assert len(caplog.messages) <= 120  # a minute may have ended meanwhile


def test_limits_keep_within_the_files_that_a_process_may_open(monkeypatch):
    monkeypatch.setattr(front.resource, "getrlimit", lambda kind: (1024, 1024))
    monkeypatch.setattr(front.resource, "setrlimit", lambda kind, wanted: None)
    found = fitting(Limits())
    assert 3 * found.all + 128 <= 1024
    assert 150 < found.each < found.all


def served_devices(made, port, ca, folder, count):
    """Updates of as many devices at once; what failed."""
    root, failed = made.first_root.read_bytes(), []
    gate = threading.Barrier(count)

    def one(number):
        device = Hub(f"localhost:{port}", ca)
        try:
            gate.wait()
            device.check_in(ANY)
            assert update(State(folder / str(number)), device, root, ["default"]).manifest.version == 1
            device.report(device=str(number), channel="default", version=1)
        except Exception as error:
            failed.append(error)
        finally:
            device.close()

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed


@pytest.mark.parametrize(
    "count, calls, seconds, most",
    [(60, 12, 4, 5.0), pytest.param(300, 60, 60, 5.0, marks=pytest.mark.faults)],
)
def test_check_ins_are_answered_beside_silent_connections(served, reached, count, calls, seconds, most):
    """Well before the ten seconds that silence would hold a place for, whatever else the machine does."""
    serve, ca = served
    with serve() as (_, port), crowd(port, ca, count, calls):
        longest = longest_check_in(port, ca, seconds)
    reached(f"longest check-in beside {count} silent connections, s", longest)
    assert longest < most


@pytest.mark.parametrize("count", [12, pytest.param(150, marks=pytest.mark.faults)])
def test_devices_that_come_at_once_are_all_served(served, made, tmp_path, monkeypatch, reached, count):
    """Without the trial of the model: what the machine of the devices does isn't the hub's."""
    from clients.device import trial
    from clients.device import update as updates

    passed = lambda model, manifest: (trial.Answer(manifest.golden.logits, 0.0), 1.0)  # noqa: E731
    monkeypatch.setattr(updates, "check_golden", passed)
    serve, ca = served
    start = time.monotonic()
    with serve() as (_, port):
        failed = served_devices(made, port, ca, tmp_path, count)
    reached(f"{count} devices at once, s", time.monotonic() - start)
    assert not failed
    assert time.monotonic() - start < 60
    assert len((made.folder / "reports.jsonl").read_text().splitlines()) == count
