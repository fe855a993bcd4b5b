"""A repository behind any web server."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError
from urllib3.connection import HTTPConnection, HTTPSConnection

_CHUNK = 1 << 16
_CONNECT, _SILENCE = 10.0, 30.0


class Web:
    """Files below a URL.

    Args:
        url: URL of the folder ``repository``, http or https: what is fetched is signed either way.
        ca: Certificates to trust for https, instead of the system's.
    """

    def __init__(self, url: str, ca: Path | None = None) -> None:
        """Connects when it is read."""
        self._url = url.rstrip("/")
        self._pool = urllib3.PoolManager(ca_certs=str(ca) if ca else None, retries=False)
        self._pool.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def read(self, path: str, offset: int, seconds: float) -> tuple[int, Iterator[bytes]]:
        """See ``clients.device.fetch.Source``; servers that know no ranges send the whole file again."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        patience = urllib3.Timeout(connect=min(_CONNECT, seconds), read=min(_SILENCE, seconds))
        try:
            answer = self._pool.request(
                "GET", f"{self._url}/{path}", headers=headers, preload_content=False, timeout=patience
            )
        except urllib3.exceptions.HTTPError as error:
            raise DownloadError(f"{self._url} can't be reached: {error}") from error
        if answer.status not in (200, 206):
            answer.close()
            raise DownloadHTTPError(f"{self._url}/{path}: HTTP status {answer.status}", answer.status)
        return (offset if answer.status == 206 else 0), _chunks(answer)


def _chunks(answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    """What has arrived, as soon as anything has: who reads looks at the clock between two chunks."""
    try:
        while data := answer.read1(_CHUNK, decode_content=False):
            yield data
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise DownloadError(f"the connection broke: {error}") from error
    finally:
        with suppress(urllib3.exceptions.HTTPError):
            answer.close()


class _Bounded:
    """A connection whose whole answer up to the body takes no longer than its timeout, however it trickles in."""

    sock: Any
    timeout: Any

    def getresponse(self) -> Any:
        """Read status and headers."""
        late = threading.Timer(self.timeout, _shut, (self.sock,))
        late.daemon = True
        late.start()
        try:
            return super().getresponse()  # type: ignore[misc]
        finally:
            late.cancel()


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # below TLS, whose state belongs to the thread that reads


class _Connection(_Bounded, HTTPConnection):
    pass


class _TlsConnection(_Bounded, HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection
