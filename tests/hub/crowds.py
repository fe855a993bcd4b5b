"""Crowds at a hub: connections that say nothing, in each way in which one can, and many devices at once."""

import socket
import ssl
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

import grpc

from clients.device.hub import Hub, Profile

ROOT = Path(__file__).parents[2]
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


def tcp(port, ca):
    """Connected, and no more."""
    return socket.create_connection(("127.0.0.1", port), 5)


def half_a_handshake(port, ca):
    found = tcp(port, ca)
    found.sendall(b"\x16\x03\x01")
    return found


def tls(port, ca):
    """After the handshake, nothing."""
    context = ssl.create_default_context(cafile=ca)
    context.set_alpn_protocols(["h2"])
    return context.wrap_socket(tcp(port, ca), server_hostname="localhost")


def http2(port, ca):
    """After the handshake and the settings, nothing."""
    found = tls(port, ca)
    found.sendall(_PREFACE)
    return found


WAYS = (tcp, half_a_handshake, tls, http2)


def calling(port, ca):
    """A call whose request never comes, and that is made again whenever it ends."""
    channel = grpc.secure_channel(f"localhost:{port}", grpc.ssl_channel_credentials(ca.read_bytes()),
                                  [("grpc.use_local_subchannel_pool", 1)])  # fmt: skip
    method, gone = channel.stream_unary("/fedkd.hub.v1.Hub/CheckIn", request_serializer=bytes), threading.Event()

    def nothing():
        gone.wait(120)
        yield from ()

    def again(_):
        if not gone.is_set():
            with suppress(ValueError):  # closed meanwhile
                method.future(nothing()).add_done_callback(again)

    again(None)
    return gone, channel


@contextmanager
def silent(port, ca, count, calls):
    """Hold `count` connections that say nothing, made again where they are closed, and `calls` that never ask."""
    stop, held = threading.Event(), []

    def keep(way):
        while not stop.is_set():
            try:
                with way(port, ca) as found:
                    found.settimeout(0.2)
                    while not stop.is_set():
                        try:
                            if not found.recv(1000):
                                break
                        except TimeoutError:
                            pass
            except OSError:
                stop.wait(0.05)

    threads = [threading.Thread(target=keep, args=(WAYS[i % len(WAYS)],), daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    held += [calling(port, ca) for _ in range(calls)]
    try:
        yield
    finally:
        stop.set()
        for gone, channel in held:
            gone.set()
            channel.close()
        for thread in threads:
            thread.join()


def longest_check_in(port, ca, seconds):
    """Seconds that the slowest of new connections' check-ins took, one after the other for some time."""
    longest, end = 0.0, time.monotonic() + seconds
    while time.monotonic() < end:
        start, hub = time.monotonic(), Hub(f"localhost:{port}", ca)
        assert hub.check_in(Profile(("default",))) == "default"
        hub.close()
        longest = max(longest, time.monotonic() - start)
        time.sleep(0.05)
    return longest


_CROWD = """
import sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.hub.crowds import silent
with silent(int(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5])):
    print("here", flush=True)
    sys.stdin.read()
"""


@contextmanager
def crowd(port, ca, count, calls):
    """As ``silent``, in a process of its own, as strangers are."""
    command = [sys.executable, "-P", "-c", _CROWD, str(ROOT), str(port), str(ca), str(count), str(calls)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as strangers:
        assert strangers.stdout.readline() == "here\n"
        try:
            yield
        finally:
            strangers.kill()
