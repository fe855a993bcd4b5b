"""A slow link in user space: hands bytes on late and no faster than a rate, and counts them. Needs no rights."""

import asyncio
import contextlib
import threading
import time


class SlowLink:
    """One node's way to a server: all its connections share the rate, each way.

    Args:
        port: The server's, on the loopback interface.
        kbits: Rate each way, kbit/s.
        milliseconds: Delay, each way.
    """

    def __init__(self, port: int, kbits: int, milliseconds: int) -> None:
        self._server, self._rate, self._delay = port, kbits * 1000 / 8, milliseconds / 1000
        self._free = {"up": 0.0, "down": 0.0}  # when the line has sent what was handed to it
        self.carried, self.port = 0, 0
        self._loop, ready = asyncio.new_event_loop(), threading.Event()
        threading.Thread(target=self._run, args=(ready,), daemon=True).start()
        ready.wait()

    def close(self) -> None:
        """Hang up."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _run(self, ready: threading.Event) -> None:
        server = self._loop.run_until_complete(asyncio.start_server(self._connect, "127.0.0.1", 0))
        self.port = int(server.sockets[0].getsockname()[1])
        ready.set()
        self._loop.run_forever()

    async def _connect(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        await asyncio.sleep(2 * self._delay)  # TCP's own handshake goes there and back
        try:
            server, to_server = await asyncio.open_connection("127.0.0.1", self._server)
        except OSError:
            to_client.close()
            return
        await asyncio.gather(self._hand_on("up", client, to_server), self._hand_on("down", server, to_client))

    async def _hand_on(self, way: str, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Read no faster than the line sends, and write what it has sent after the delay."""
        with contextlib.suppress(OSError):
            while not sink.is_closing() and (data := await source.read(4096)):
                self.carried += len(data)
                self._free[way] = max(time.monotonic(), self._free[way]) + len(data) / self._rate
                await asyncio.sleep(self._free[way] - time.monotonic())
                self._loop.call_later(self._delay, _deliver, sink, data)
        await asyncio.sleep(self._delay)
        with contextlib.suppress(OSError):
            sink.close()


def _deliver(sink: asyncio.StreamWriter, data: bytes) -> None:
    if not sink.is_closing():  # whoever hung up reads no more
        sink.write(data)
