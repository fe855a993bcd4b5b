"""Processes that are started together and end together, with all that they started themselves."""

import contextlib
import os
import re
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from fedkd.base.errors import RunError
from sims.signals import uninterrupted

# Handed down to every process that another one starts, in whichever session: so none is missed.
_MARK = "FEDKD_PROCESSES"
# Seconds to end in order; Flower's SuperExec takes longer, once its SuperNode is gone, and holds nothing by then.
_PATIENCE = 5.0
_WORDS = 300
_OURS = re.compile(r"fedkd\.base\.errors\.\w+: (.+)")  # the last line of a traceback


class Processes:
    """Started processes, each with a log of its own.

    Args:
        logs: Folder of the logs.
    """

    def __init__(self, logs: Path) -> None:
        self.logs, self._mark = logs, secrets.token_hex(8)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        logs.mkdir(parents=True, exist_ok=True)

    def start(self, name: str, command: list[str], env: Mapping[str, str]) -> None:
        """Start a process in a session of its own: Ctrl-C reaches this process alone, which ends all in order."""
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                command, env={**env, _MARK: self._mark}, stdin=subprocess.DEVNULL, stdout=log,
                stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def log(self, name: str) -> Path:
        """Where what a process says is found."""
        return self.logs / f"{name}.log"

    def check(self) -> None:
        """Check that all still run.

        Raises:
            RunError: One has ended; the message quotes its log's last error.
        """
        for name, process in self._running.items():
            if process.poll() is not None:
                raise RunError(f"{name} ended: {last_message(self.log(name))} (log: {self.log(name)})")

    def kill(self, name: str) -> None:
        """End a process and all it started at once, as a power cut would; it is no longer expected to live."""
        process = self._running.pop(name)
        tree = _descendants(process.pid)
        for pid in [process.pid, *tree]:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """End all, the last started first: by SIGTERM, and what is left after some seconds by SIGKILL.

        A second Ctrl-C changes nothing: whoever is impatient would leave processes behind.
        """
        with uninterrupted():
            self._stop()

    def _stop(self) -> None:
        for process in reversed(self._running.values()):
            with contextlib.suppress(OSError):
                process.terminate()
        end = time.monotonic() + _PATIENCE
        while self.left() and time.monotonic() < end:
            time.sleep(0.1)
        while left := self.left():
            for pid in left:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)

    def left(self) -> list[int]:
        """Ids of all that still runs of what was started here, and of what those started."""
        for process in self._running.values():
            process.poll()  # a zombie is none of them
        marked = [pid for pid in _processes() if f"{_MARK}={self._mark}".encode() in _environment(pid)]
        return marked or [p.pid for p in self._running.values() if p.poll() is None]


def last_message(log: Path) -> str:
    """What a log says of why its process ended: our own words, else Flower's, else the last line about an error."""
    lines = [" ".join(line.split()) for line in log.read_text(encoding="utf-8", errors="replace").splitlines()]
    lines = [line for line in lines if line and "retrying in" not in line]
    if ours := [found[1] for line in lines if (found := _OURS.fullmatch(line))]:
        return ours[-1][:_WORDS]
    for number, line in enumerate(lines):
        if "Exit Code:" in line:
            return " ".join(lines[number + 1 : number + 3])[:_WORDS]
    telling = [line for line in lines if re.search("error|failed|refused", line, re.IGNORECASE)]
    return (telling or lines or ["it said nothing"])[-1][:_WORDS]


def free_ports(count: int) -> list[int]:
    """Return some ports of the loopback interface that nobody uses."""
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def wait_for_port(port: int, processes: Processes, seconds: float = 60.0, host: str = "127.0.0.1") -> None:
    """Wait until something listens on a port of this machine.

    Raises:
        RunError: A process ended meanwhile, or nothing did in time.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        processes.check()
        with contextlib.suppress(OSError), socket.create_connection((host, port), 0.5):
            return
        time.sleep(0.2)
    raise RunError(f"nothing listens on port {port} after {seconds:g} s (logs: {processes.logs})")


def _processes() -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        yield int(folder.name)


def _environment(pid: int) -> bytes:
    """Environment of a process; empty where it is a zombie, another user's, or no longer there."""
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def _descendants(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for other in _processes():
        with contextlib.suppress(OSError):
            parent = int(Path(f"/proc/{other}/stat").read_text().rsplit(")", 1)[1].split()[1])
            children.setdefault(parent, []).append(other)
    found, todo = [], [pid]
    while todo:
        todo += (more := children.get(todo.pop(), []))
        found += more
    return found
