"""The hub over gRPC: check-in, files, reports, health. It holds no key: what it serves is signed already."""

import asyncio
import logging
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from clients.device.protocol import hub_pb2, hub_pb2_grpc
from clients.device.protocol.manifest import Manifest
from fedkd.base.errors import InputError
from server.hub.deadline import Deadline
from server.hub.front import Front, Limits, fitting
from server.hub.reports import Reports
from server.hub.repository import Repository

CHUNK = 1 << 16
_MESSAGE = 1 << 16
# So many calls read or write the disk at once; others wait their turn. A call that waits for its peer has no place.
_PLACES = 24
_STREAMS = 4
# So that who reads nothing can't hold a call for ever; others go on where they stopped.
_CONNECTION_MS = 60_000
_PATH = 512
_T = TypeVar("_T")


class HubService(hub_pb2_grpc.HubServicer):
    """Answers devices.

    Args:
        repository: What is published.
        reports: Where reports go.
        front: Knows where calls come from.
        places: Threads for what needs the disk.
    """

    def __init__(self, repository: Repository, reports: Reports, front: Front, places: ThreadPoolExecutor) -> None:
        """Reads nothing yet."""
        self._repository, self._reports, self._front, self._places = repository, reports, front, places
        self._known: tuple[int, dict[str, Manifest]] = (-1, {})

    async def CheckIn(self, request: Any, context: Any) -> Any:
        """Choose the first of a device's channels that fits it."""
        try:
            return await self._turn(self._advice, request)
        except InputError as error:
            logging.getLogger(__name__).warning("%s", error)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the hub's repository is damaged")

    async def Fetch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Stream a file of the repository; between two chunks it is closed, and takes no place."""
        path = await self._turn(served_file, self._repository.served, request.path)
        if path is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such file")
            return
        offset = request.offset
        try:
            while data := await self._turn(_read, path, offset):
                yield hub_pb2.Chunk(data=data)
                offset += len(data)
        except OSError:  # says where the repository lies
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such file")

    async def Report(self, request: Any, context: Any) -> Any:
        """Keep a report."""
        names = ("channel", "version", "latency_ms", "agreement", "failure")
        fields = {name: getattr(request, name) for name in names}
        peer = self._front.address(context.peer())
        return hub_pb2.Receipt(kept=await self._turn(self._reports.keep, request.device, peer, fields))

    async def _turn(self, work: Callable[..., _T], *arguments: Any) -> _T:
        """Do something with the disk, as soon as there is a place."""
        return await asyncio.get_running_loop().run_in_executor(self._places, work, *arguments)

    def _advice(self, request: Any) -> Any:
        reasons, manifests = [], self._manifests()
        for channel in list(request.channels)[:16]:
            manifest = manifests.get(channel)
            if manifest is None:
                reasons.append(f"no channel {channel[:64]!r}")
                continue
            if reason := manifest.unfit(request.flash_bytes, request.ram_bytes):
                reasons.append(reason)
                continue
            return hub_pb2.Advice(channel=channel)
        return hub_pb2.Advice(reason="; ".join(reasons) or "it follows no channel")

    def _manifests(self) -> dict[str, Manifest]:
        """The manifest of each channel that has a sound one, read again when something was published."""
        published = self._repository.store.published().timestamp.signed
        if published.version != self._known[0]:
            self._known = (published.version, self._repository.manifests())
        return self._known[1]


def served_file(folder: Path, path: str) -> Path | None:
    """The file that a path names, if it is one of metadata/ or targets/ and lies there; None otherwise."""
    parts = path.split("/")
    if len(path) > _PATH or "\0" in path or "\\" in path or parts[0] not in ("metadata", "targets"):
        return None
    if any(part in ("", ".", "..") or part.startswith(".") for part in parts):
        return None
    found = folder / path
    try:
        inside = found.resolve().is_relative_to(folder.resolve())
        return found if inside and found.is_file() else None
    except (OSError, RuntimeError, ValueError):  # too long a name, links in a circle, letters no file name has
        return None


def _read(path: Path, offset: int) -> bytes:
    with open(path, "rb") as file:
        file.seek(min(offset, path.stat().st_size))
        return file.read(CHUNK)


class _Service:
    """The gRPC server, the front before it, and the threads behind it."""

    def __init__(self, repository: Repository, certificate: tuple[bytes, bytes] | None, folder: Path, limits: Limits):
        self.front = Front(folder / "hub", limits)
        self._repository, self._certificate, self._socket = repository, certificate, f"unix:{folder / 'hub'}"
        self._places, self._health = ThreadPoolExecutor(_PLACES, "hub"), health.aio.HealthServicer()

    async def start(self, host: str, port: int) -> int:
        """Serve; return the port."""
        waits = int(self.front.limits.seconds * 1000)
        self._server = grpc.aio.server(interceptors=[Deadline(self.front)], options=[
            ("grpc.max_receive_message_length", _MESSAGE),
            ("grpc.max_concurrent_streams", _STREAMS),
            ("grpc.server_handshake_timeout_ms", waits),
            ("grpc.max_connection_idle_ms", waits),
            ("grpc.max_connection_age_ms", _CONNECTION_MS),
            ("grpc.max_connection_age_grace_ms", _CONNECTION_MS),
        ])  # fmt: skip
        reports = Reports(self._repository.folder / "reports.jsonl")
        service = HubService(self._repository, reports, self.front, self._places)
        hub_pb2_grpc.add_HubServicer_to_server(service, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        if self._certificate is None:
            self._server.add_insecure_port(self._socket)
        else:
            self._server.add_secure_port(self._socket, grpc.ssl_server_credentials([self._certificate]))
        await self._server.start()
        for name in ("", "fedkd.hub.v1.Hub"):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return await self.front.listen(host, port)

    async def stop(self) -> None:
        """Let running calls end within a second, and go."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(grace=1)
        await self.front.close()
        self._places.shutdown(wait=False)


@contextmanager
def serving(
    repository: Repository, address: str, certificate: tuple[bytes, bytes] | None, limits: Limits | None = None
) -> Iterator[tuple[Front, int]]:
    """Serve a repository until the block ends.

    Args:
        repository: What is published.
        address: HOST:PORT; port 0 for any.
        certificate: PEM of the private key and of the certificate; None for no TLS.
        limits: What connections may take.

    Yields:
        The front, which knows who is connected, and the port.

    Raises:
        InputError: There is no repository.
        RunError: The port is taken.
    """
    repository.store.root()
    host, _, port = address.rpartition(":")
    with tempfile.TemporaryDirectory(prefix="fedkd-hub-") as folder, _loop() as on_loop:
        service = _Service(repository, certificate, Path(folder), fitting(limits or Limits()))
        try:
            yield service.front, on_loop(service.start(host.strip("[]"), int(port)))
        finally:
            on_loop(service.stop())


@contextmanager
def _loop() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """A thread with an event loop; what it yields runs a coroutine there and waits for its end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="hub", daemon=True)
    thread.start()
    try:
        yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
