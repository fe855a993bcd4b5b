"""The connections of a hub: who may have how many, and how long one may say nothing.

What a device sends goes on, unread, to the gRPC server behind a socket of this machine, so that TLS is between the two.
gRPC itself knows no limit by peer. A peer is an IPv4 address, or the first 64 bits of an IPv6 one.
"""

import asyncio
import ipaddress
import logging
import resource
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from fedkd.base.errors import RunError

_CHUNK = 1 << 16
_BACKLOG = 1024
_LINES_A_MINUTE = 60
# A connection's socket, and both ends of the one to the gRPC server; the rest of the process has some files, too.
_FILES_EACH, _OTHER_FILES = 3, 128


@dataclass(frozen=True)
class Limits:
    """What connections may take.

    Args:
        seconds: For a connection to send its request, TLS handshake included; and for an idle one to send the next.
        longest: Seconds after which a connection is closed, whatever it does.
        each: Connections of one peer: many devices may share an address.
        all: Connections of all peers.
        grace: Seconds in which a silent connection needn't make room for another.
    """

    seconds: float = 10.0
    longest: float = 130.0
    each: int = 512
    all: int = 2048
    grace: float = 0.5


def fitting(limits: Limits) -> Limits:
    """Bring limits within the files that this process may open, after asking the system for as many as it gives."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = limits.all * _FILES_EACH + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        most = max(8, (resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _OTHER_FILES) // _FILES_EACH)
        return replace(limits, each=min(limits.each, most * 3 // 4), all=min(limits.all, most))
    return limits


@dataclass(eq=False)
class _Connection:
    """One of them; ``asked`` says whether a request came over it."""

    address: str
    peer: str
    writer: asyncio.StreamWriter
    asked: bool = False
    since: float = field(default_factory=time.monotonic)


class Front:
    """Listens for devices.

    Args:
        inner: The socket of the gRPC server, in a folder of its own.
        limits: What connections may take.
    """

    def __init__(self, inner: Path, limits: Limits) -> None:
        """Listens to nobody yet."""
        self._inner, self.limits, self._count = inner, limits, 0
        self._held: dict[str, _Connection] = {}  # in the order in which they came, by the names of their inner sockets
        self._minute, self._said = 0, set[str]()
        self._server: asyncio.Server | None = None

    async def listen(self, host: str, port: int) -> int:
        """Begin to take connections; return the port.

        Raises:
            RunError: The port is taken, or the address isn't this machine's.
        """
        try:
            self._server = await asyncio.start_server(self._taken, host, port, backlog=_BACKLOG)
        except OSError:
            why = "the port is taken, or the address isn't this machine's"
            raise RunError(f"{host}:{port}: can't listen there: {why}") from None
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Take no more connections, and end those there are."""
        if self._server:
            self._server.close()
        for each in list(self._held.values()):
            each.writer.transport.abort()
        while self._held:
            await asyncio.sleep(0.01)

    def asked(self, name: str) -> None:
        """Note that a request came from the peer that gRPC calls by a name."""
        if found := self._held.get(_key(name)):
            found.asked = True

    def address(self, name: str) -> str:
        """Where the peer that gRPC calls by a name calls from, HOST:PORT; empty where it has gone."""
        found = self._held.get(_key(name))
        return found.address if found else ""

    def turned_away(self, peer: str, why: str) -> None:
        """Say in the log that a peer was turned away, once a minute each, and for at most 60 peers a minute."""
        if (minute := int(time.monotonic() // 60)) != self._minute:
            self._minute, self._said = minute, set()
        if peer not in self._said and len(self._said) < _LINES_A_MINUTE:
            self._said.add(peer)
            logging.getLogger(__name__).warning("%s turned away: %s", peer, why)

    async def _taken(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Hold a connection from its first byte to its last."""
        if (place := writer.get_extra_info("peername")) is None:  # it has gone already
            writer.transport.abort()
            return
        self._count, (host, port) = self._count + 1, place[:2]
        held, key = _Connection(f"{host}:{port}", _peer(host), writer), str(self._inner.with_name(f"{self._count}"))
        if not self._room(held):
            writer.transport.abort()
            return
        self._held[key] = held
        try:
            first = await asyncio.wait_for(reader.read(_CHUNK), self.limits.seconds)
            if first:
                await self._through(key, first, reader, writer)
        except (OSError, TimeoutError):
            pass
        finally:
            del self._held[key]
            if not held.asked and time.monotonic() - held.since >= 0.9 * self.limits.seconds:
                self.turned_away(held.peer, f"it sent no request within {self.limits.seconds:g} s")
            writer.close()

    def _room(self, new: _Connection) -> bool:
        """Make room for a connection: where there is none, the one goes that has been silent for longest."""
        held = [each for each in self._held.values() if not each.writer.transport.is_closing()]
        of_peer = [each for each in held if each.peer == new.peer]
        for those, most in ((of_peer, self.limits.each), (held, self.limits.all)):
            if len(those) < most:
                continue
            silent = next((each for each in those if not each.asked), None)
            if silent is not None and new.since - silent.since < self.limits.grace:
                silent = None
            away = silent or new
            whose = "the hub" if those is held else away.peer
            self.turned_away(away.peer, f"{whose} had {most} connections open")
            if silent is None:
                return False
            silent.writer.transport.abort()
            held = [each for each in held if each is not silent]
        return True

    async def _through(
        self, key: str, first: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry bytes both ways until one side ends."""
        inner = socket.socket(socket.AF_UNIX)
        inner.setblocking(False)
        inner.bind(key)  # the name by which gRPC's calls tell it
        try:
            await asyncio.get_running_loop().sock_connect(inner, str(self._inner))
        except OSError:
            inner.close()
            raise
        finally:
            Path(key).unlink()
        source, sink = await asyncio.open_unix_connection(sock=inner)
        sink.write(first)
        ways = [asyncio.create_task(_carry(*way)) for way in ((reader, sink), (source, writer))]
        try:
            await asyncio.wait(ways, timeout=self.limits.longest, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            sink.transport.abort()


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(_CHUNK):
        sink.write(data)
        await sink.drain()


def _peer(host: str) -> str:
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)


def _key(name: str) -> str:
    return name.removeprefix("unix:")
