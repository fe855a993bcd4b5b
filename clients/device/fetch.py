"""How python-tuf gets files: from any place that can read one from an offset, within limits, with resume."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import quote

from tuf.api.exceptions import DownloadError, DownloadLengthMismatchError, SlowRetrievalError
from tuf.ngclient import FetcherInterface

_ATTEMPTS = 5
_PAUSE = 0.5


class Source(Protocol):
    """Where a repository is."""

    def read(self, path: str, offset: int, seconds: float) -> tuple[int, Iterator[bytes]]:
        """Begin to read a file.

        Args:
            path: Below the repository.
            offset: Bytes to skip.
            seconds: Time left for all of it; above 0.

        Returns:
            Where it begins, ``offset`` or 0, and chunks.

        Raises:
            DownloadError: Also while reading the chunks; DownloadHTTPError with code 404 where there is no such file.
        """
        ...


class Fetcher(FetcherInterface):
    """Files of a repository for ``tuf.ngclient.Updater``, with base URLs ``metadata/`` and ``targets/``.

    Args:
        source: Where they are.
        parts: Folder of targets on their way.
        seconds: Time for everything this fetcher fetches, so that a slow hub can't hold a device up.
    """

    def __init__(self, source: Source, parts: Path, seconds: float) -> None:
        """Start the clock."""
        self._source, self._parts = source, parts
        self._deadline, self._seconds = time.monotonic() + seconds, seconds

    def _fetch(self, url: str) -> Iterator[bytes]:
        """Read a small file from its beginning."""
        _, chunks = self._source.read(url, 0, self._left())
        return self._in_time(chunks)

    def _in_time(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._left()
            yield chunk
        self._left()  # what was cut off then isn't all there is

    def _left(self) -> float:
        """Seconds that are left."""
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise SlowRetrievalError(f"not done after {self._seconds:g} s; it goes on at the next update")
        return left

    @contextmanager
    def download_file(self, url: str, max_length: int) -> Iterator[IO]:
        """Fetch a file; a target goes on where it was interrupted, and starts anew if it turns out to be wrong."""
        if not url.startswith("targets/"):
            with super().download_file(url, max_length) as file:
                yield file
            return
        part = self._parts / f"{quote(url, '')[-200:]}.part"
        self._complete(url, part, max_length)
        try:
            with open(part, "rb") as file:
                yield file
        except Exception:
            part.unlink(missing_ok=True)
            raise
        part.unlink(missing_ok=True)

    def _complete(self, url: str, part: Path, length: int) -> None:
        """Fetch what is missing of a file, again and again while that gets it further."""
        part.touch()
        for attempt in range(_ATTEMPTS):
            before = part.stat().st_size
            if before >= length:
                return
            try:
                self._append(url, part, length)
                return
            except SlowRetrievalError:
                raise
            except DownloadLengthMismatchError:
                part.unlink(missing_ok=True)
                raise
            except DownloadError:
                self._left()
                if part.stat().st_size <= before or attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(_PAUSE)

    def _append(self, url: str, part: Path, length: int) -> None:
        offset = part.stat().st_size
        start, chunks = self._source.read(url, offset, self._left())
        with open(part, "r+b" if start else "wb") as file:
            file.seek(start)
            for chunk in self._in_time(chunks):
                if file.tell() + len(chunk) > length:
                    raise DownloadLengthMismatchError(f"{url} goes on after the {length:,} bytes that are signed")
                file.write(chunk)
