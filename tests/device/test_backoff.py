"""Laws of asking again: soon, not for long, and no two devices at the same time."""

from concurrent import futures

import grpc
import pytest
from tuf.api.exceptions import DownloadError, DownloadHTTPError

from clients.device import backoff, fetch
from clients.device import hub as link
from clients.device.errors import UpdateFailed
from clients.device.fetch import Fetcher
from clients.device.hub import Hub, Profile
from clients.device.protocol import hub_pb2, hub_pb2_grpc


def test_pauses_grow_are_drawn_and_end(monkeypatch):
    monkeypatch.setattr(backoff, "FIRST", 0.5)  # the fixture `quick` has it short
    drawn = [list(backoff.pauses()) for _ in range(50)]
    for at, longest in enumerate((0.5, 1, 2, 4)):
        assert all(longest / 2 <= pauses[at] <= longest for pauses in drawn)
    assert {len(pauses) for pauses in drawn} == {4}
    assert len({tuple(pauses) for pauses in drawn}) == 50


class Busy(hub_pb2_grpc.HubServicer):
    """Has no room for the first calls."""

    def __init__(self, refusals, code=grpc.StatusCode.RESOURCE_EXHAUSTED):
        self.left, self.code = refusals, code

    def CheckIn(self, request, context):
        self.left -= 1
        if self.left >= 0:
            context.abort(self.code, "no room")
        return hub_pb2.Advice(channel="default")


@pytest.fixture
def asked(monkeypatch):
    """Checks in at a hub, and returns the channel and the pauses that were made."""
    slept = []
    monkeypatch.setattr(link.time, "sleep", slept.append)

    def ask(servicer):
        server = grpc.server(futures.ThreadPoolExecutor(2))
        hub_pb2_grpc.add_HubServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        hub = Hub(f"127.0.0.1:{port}", insecure=True)
        try:
            return hub.check_in(Profile(("default",))), slept
        finally:
            hub.close()
            server.stop(None).wait()

    return ask


def test_a_hub_without_room_is_asked_again(asked):
    channel, slept = asked(Busy(3))
    assert (channel, len(slept)) == ("default", 3)


def test_a_hub_that_never_has_room_is_given_up_and_a_refusal_at_once(asked):
    with pytest.raises(UpdateFailed, match="resource_exhausted: no room"):
        asked(Busy(99))
    refusing = Busy(1, grpc.StatusCode.PERMISSION_DENIED)
    with pytest.raises(UpdateFailed, match="permission_denied"):
        asked(refusing)
    assert refusing.left == 0


class Flaky:
    """A source that breaks a few times before its first byte, or after it."""

    def __init__(self, breaks, data=b"abc", begun=b"", error=DownloadError):
        self.left, self.data, self.begun, self.error, self.asked = breaks, data, begun, error, 0

    def read(self, path, offset, seconds):
        self.asked += 1
        return offset, self._chunks(offset)

    def _chunks(self, offset):
        if self.asked <= self.left:
            if self.begun:
                yield self.begun
            raise self.error("broke", 404) if self.error is DownloadHTTPError else self.error("broke")
        yield self.data[offset:]


def test_metadata_are_read_again_while_nothing_has_come(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: None)
    assert b"".join(Fetcher(Flaky(4), tmp_path, 60).fetch("metadata/1.root.json")) == b"abc"
    for source in (Flaky(5), Flaky(1, begun=b"a"), Flaky(1, error=DownloadHTTPError)):
        with pytest.raises(DownloadError):
            b"".join(Fetcher(source, tmp_path, 60).fetch("metadata/1.root.json"))
    assert source.asked == 1


def test_a_target_is_fetched_again_even_where_nothing_had_come(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch.time, "sleep", lambda seconds: None)
    with Fetcher(Flaky(4), tmp_path, 60).download_file("targets/x", 3) as file:
        assert file.read() == b"abc"
