"""The hub over gRPC: check-in, files, reports, health. It holds no key: what it serves is signed already."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from clients.device.protocol import hub_pb2, hub_pb2_grpc
from clients.device.protocol.manifest import Manifest, unpack
from fedkd.base.errors import InputError, RunError
from server.hub.reports import Reports
from server.hub.repository import Repository

CHUNK = 1 << 16
_THREADS = 32
_MESSAGE = 1 << 16
_CALLS = 24
_STREAMS = 4
# So that who reads or says nothing can't hold a call for ever; others go on where they stopped.
_CONNECTION_MS = 60_000
_PATH = 512


class HubService(hub_pb2_grpc.HubServicer):
    """Answers devices.

    Args:
        repository: What is published.
        reports: Where reports go.
    """

    def __init__(self, repository: Repository, reports: Reports) -> None:
        """Reads nothing yet."""
        self._repository, self._reports = repository, reports
        self._known: tuple[int, dict[str, Manifest]] = (-1, {})

    def CheckIn(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Choose the first of a device's channels that fits it."""
        reasons = []
        try:
            manifests = self._manifests()
        except InputError as error:
            logging.getLogger(__name__).warning("%s", error)
            context.abort(grpc.StatusCode.UNAVAILABLE, "the hub's repository is damaged")
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

    def Fetch(self, request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        """Stream a file of the repository."""
        path = served_file(self._repository.served, request.path)
        if path is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "no such file")
            return
        try:
            with open(path, "rb") as file:
                file.seek(min(request.offset, path.stat().st_size))
                while data := file.read(CHUNK):
                    yield hub_pb2.Chunk(data=data)
        except OSError:  # says where the repository lies
            context.abort(grpc.StatusCode.NOT_FOUND, "no such file")

    def Report(self, request: Any, context: grpc.ServicerContext) -> Any:
        """Keep a report."""
        names = ("channel", "version", "latency_ms", "agreement", "failure")
        fields = {name: getattr(request, name) for name in names}
        return hub_pb2.Receipt(kept=self._reports.keep(request.device, context.peer(), fields))

    def _manifests(self) -> dict[str, Manifest]:
        """The manifest of each channel that has a sound one, read again when something was published."""
        published = self._repository.store.published().timestamp.signed
        if published.version != self._known[0]:
            paths = [path for path in self._repository.paths() if path.endswith("/manifest.json")]
            found = {path.removesuffix("/manifest.json"): self._manifest(path) for path in paths}
            self._known = (published.version, {channel: item for channel, item in found.items() if item})
        return self._known[1]

    def _manifest(self, path: str) -> Manifest | None:
        try:
            return unpack(self._repository.read(path) or b"")
        except (ValueError, InputError) as error:  # the other channels are served all the same
            logging.getLogger(__name__).warning("%s: %s", path, error)
            return None


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


@contextmanager
def serving(
    repository: Repository, address: str, certificate: tuple[bytes, bytes] | None
) -> Iterator[tuple[grpc.Server, int]]:
    """Serve a repository until the block ends.

    Args:
        repository: What is published.
        address: HOST:PORT; port 0 for any.
        certificate: PEM of the private key and of the certificate; None for no TLS.

    Yields:
        The server and its port.

    Raises:
        InputError: There is no repository, or the certificate can't be used.
        RunError: The port is taken.
    """
    repository.store.root()
    options = [
        ("grpc.max_receive_message_length", _MESSAGE),
        ("grpc.so_reuseport", 0),
        ("grpc.max_concurrent_streams", _STREAMS),
        ("grpc.max_connection_age_ms", _CONNECTION_MS),
        ("grpc.max_connection_age_grace_ms", _CONNECTION_MS),
    ]
    pool = ThreadPoolExecutor(_THREADS, "hub")
    server = grpc.server(pool, options=options, maximum_concurrent_rpcs=_CALLS)
    service = HubService(repository, Reports(repository.folder / "reports.jsonl"))
    hub_pb2_grpc.add_HubServicer_to_server(service, server)
    state = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(state, server)
    port = _bound(server, address, certificate)
    server.start()
    state.set("", health_pb2.HealthCheckResponse.SERVING)
    state.set("fedkd.hub.v1.Hub", health_pb2.HealthCheckResponse.SERVING)
    try:
        yield server, port
    finally:
        state.enter_graceful_shutdown()
        server.stop(grace=1).wait()
        pool.shutdown(wait=False)


def _bound(server: grpc.Server, address: str, certificate: tuple[bytes, bytes] | None) -> int:
    try:
        if certificate is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, grpc.ssl_server_credentials([certificate]))
    except RuntimeError:
        raise RunError(
            f"{address}: can't listen there: the port is taken, or the address isn't this machine's"
        ) from None
