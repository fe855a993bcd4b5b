"""How python-tuf gets files: from any place that can read one from an offset, within limits, with resume."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol
from urllib.parse import quote

from tuf.api.exceptions import DownloadError, DownloadHTTPError, DownloadLengthMismatchError, SlowRetrievalError
from tuf.ngclient import FetcherInterface

from clients.device.backoff import pauses


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
        """Read a small file from its beginning; again, as long as nothing of it has come."""
        left = pauses()
        while True:
            begun = False
            try:
                for chunk in self._in_time(self._source.read(url, 0, self._left())[1]):
                    begun = True
                    yield chunk
                return
            except DownloadError as error:
                if begun or not self._rested(error, left):
                    raise

    def _rested(self, error: DownloadError, left: Iterator[float]) -> bool:
        """Wait before another attempt; False where there is none: all were made, or another would end alike."""
        if isinstance(error, DownloadHTTPError | SlowRetrievalError | DownloadLengthMismatchError):
            return False
        pause = next(left, None)
        if pause is None:
            return False
        time.sleep(min(pause, self._left()))
        return True

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
        """Fetch what is missing of a file, again after a pause where the connection breaks."""
        part.touch()
        left = pauses()
        while part.stat().st_size < length:
            try:
                self._append(url, part, length)
                return
            except DownloadLengthMismatchError:
                part.unlink(missing_ok=True)
                raise
            except DownloadError as error:
                if not self._rested(error, left):
                    raise

    def _append(self, url: str, part: Path, length: int) -> None:
        offset = part.stat().st_size
        start, chunks = self._source.read(url, offset, self._left())
        with open(part, "r+b" if start else "wb") as file:
            file.seek(start)
            for chunk in self._in_time(chunks):
                if file.tell() + len(chunk) > length:
                    raise DownloadLengthMismatchError(f"{url} goes on after the {length:,} bytes that are signed")
                file.write(chunk)
