"""A repository behind any web server."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import urllib3
from tuf.api.exceptions import DownloadError, DownloadHTTPError

_CHUNK = 1 << 16
_TIMEOUT = urllib3.Timeout(connect=10, read=30)


class Web:
    """Files below a URL.

    Args:
        url: Of the folder ``repository``, http or https: what is fetched is signed either way.
        ca: Certificates to believe for https, instead of the system's.
    """

    def __init__(self, url: str, ca: Path | None = None) -> None:
        """Connects when it is read."""
        self._url = url.rstrip("/")
        self._pool = urllib3.PoolManager(ca_certs=str(ca) if ca else None, retries=False, timeout=_TIMEOUT)

    def read(self, path: str, offset: int) -> tuple[int, Iterator[bytes]]:
        """See ``clients.device.fetch.Source``; servers that know no ranges send the whole file again."""
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        try:
            answer = self._pool.request("GET", f"{self._url}/{path}", headers=headers, preload_content=False)
        except urllib3.exceptions.HTTPError as error:
            raise DownloadError(f"{self._url} can't be reached: {error}") from error
        if answer.status not in (200, 206):
            answer.close()
            raise DownloadHTTPError(f"{self._url}/{path}: HTTP status {answer.status}", answer.status)
        return (offset if answer.status == 206 else 0), _chunks(answer)


def _chunks(answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    try:
        yield from answer.stream(_CHUNK)
    except urllib3.exceptions.HTTPError as error:
        raise DownloadError(f"the connection broke: {error}") from error
    finally:
        with suppress(urllib3.exceptions.HTTPError):
            answer.close()
