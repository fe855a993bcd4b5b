"""Counts what passes between two ends of a TCP connection, without looking inside."""

import contextlib
import socket
import threading
import time


class CountingProxy:
    """Listens on a free port of the loopback interface and hands all bytes on to another one.

    Args:
        port: Of the server, which may come and go.
    """

    def __init__(self, port):
        self._port, self.up, self.down, self.connections = port, 0, 0, 0
        self._passes = threading.Event()
        self._passes.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def total(self):
        return self.up + self.down

    @contextlib.contextmanager
    def held(self):
        """Let nothing pass while the body runs; it does afterwards."""
        self._passes.clear()
        try:
            yield
        finally:
            self._passes.set()

    def close(self):
        self._listener.close()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client):
        """Connect a client once the server is there: a call that ends at once is no dead server's."""
        self.connections += 1
        while True:
            with contextlib.suppress(OSError):
                server = socket.create_connection(("127.0.0.1", self._port))
                break
            time.sleep(0.2)
        for way in ((client, server, "up"), (server, client, "down")):
            threading.Thread(target=self._hand_on, args=way, daemon=True).start()

    def _hand_on(self, source, sink, way):
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._passes.wait()
                setattr(self, way, getattr(self, way) + len(data))
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
