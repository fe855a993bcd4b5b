"""The link to a hub over gRPC."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
from tuf.api.exceptions import DownloadError, DownloadHTTPError

from clients.device.backoff import pauses
from clients.device.errors import UpdateFailed, one_line
from clients.device.protocol import hub_pb2, hub_pb2_grpc

_SECONDS = 10.0
# gRPC's own pause after a connection that failed, which it draws around this; ours come on top.
_OPTIONS = [
    ("grpc.max_receive_message_length", 1 << 20),
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.max_reconnect_backoff_ms", 2000),
]
# What may be over in a moment: nobody there, a connection that was turned away, a hub that has no room.
_PASSING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED}


@dataclass(frozen=True)
class Profile:
    """What a device follows and gives.

    Args:
        channels: Those that it may follow, the preferred first.
        ram_bytes: What a model may take; 0 for no limit.
        flash_bytes: What its file may take; 0 for no limit.
    """

    channels: tuple[str, ...]
    ram_bytes: int = 0
    flash_bytes: int = 0


class Hub:
    """A hub, as a ``clients.device.fetch.Source`` that can be asked and told, too.

    Args:
        address: HOST:PORT.
        ca: Certificates to trust; None for the system's.
        insecure: Connect without TLS: what is fetched is signed all the same, but anybody may read what is reported.
    """

    def __init__(self, address: str, ca: Path | None = None, insecure: bool = False) -> None:
        """Connects when it is used."""
        if insecure:
            self._channel = grpc.insecure_channel(address, _OPTIONS)
        else:
            known = grpc.ssl_channel_credentials(ca.read_bytes() if ca else None)
            self._channel = grpc.secure_channel(address, known, _OPTIONS)
        self.answers = False  # whether it did when it was last asked
        self.address, self._stub = address, hub_pb2_grpc.HubStub(self._channel)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def check_in(self, profile: Profile) -> str:
        """Ask which of the profile's channels suits.

        Raises:
            UpdateFailed: The hub can't be reached, or has nothing that suits.
        """
        self.answers = False
        advice = self._asked(self._stub.CheckIn, hub_pb2.Profile(**vars(profile)))
        self.answers = True
        if advice.channel not in profile.channels:
            raise UpdateFailed(f"the hub has nothing for this device: {advice.reason or repr(advice.channel)}")
        return str(advice.channel)

    def report(self, **fields: Any) -> None:
        """Tell how it went.

        Raises:
            UpdateFailed: The hub can't be reached.
        """
        self._asked(self._stub.Report, hub_pb2.Outcome(**fields))

    def read(self, path: str, offset: int, seconds: float) -> tuple[int, Iterator[bytes]]:
        """See ``clients.device.fetch.Source``."""
        return offset, self._chunks(hub_pb2.FileRequest(path=path, offset=offset), seconds)

    def _chunks(self, request: Any, seconds: float) -> Iterator[bytes]:
        try:
            for chunk in self._stub.Fetch(request, timeout=seconds):
                yield chunk.data
        except grpc.RpcError as error:
            said = f"{self.address}, {request.path}: {_said(error)}"
            if error.code() == grpc.StatusCode.NOT_FOUND:
                raise DownloadHTTPError(said, 404) from error
            raise DownloadError(said) from error

    def _asked(self, method: Callable[..., Any], request: Any) -> Any:
        """Call a method, again after a pause while what keeps it from being answered may pass."""
        left = pauses()
        while True:
            try:
                return method(request, timeout=_SECONDS)
            except grpc.RpcError as error:
                pause = next(left, None) if error.code() in _PASSING else None
                if pause is None:
                    raise UpdateFailed(f"hub {self.address}: {_said(error)}") from error
            time.sleep(pause)


def _said(error: Any) -> str:
    return one_line(UpdateFailed(f"{error.code().name.lower()}: {error.details()}"))
