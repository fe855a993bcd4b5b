"""A round over a slow link: nodes of a real federation, each behind a link of its own.

The kernel makes the links, of network namespaces and netem, where it is asked by root and can; else user space does.
"""

import json
import logging
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from fedkd.base.errors import RunError
from fedkd.config.config import Scalar
from fedkd.config.settings import to_settings
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.resolve import experiment_of
from fedkd.results.round import Round
from fedkd.results.run_folder import RunFolder
from sims.bench.slow_link import SlowLink
from sims.deploy.local import LocalFederation
from sims.signals import interruptible, uninterrupted

log = logging.getLogger(__name__)

_ROUNDS = 2
# The server's one address, on the loopback device: nodes come to it by their links, and it is in no other network.
_SERVER = "10.213.255.1"
_ON_LOOPBACK = (f"{_SERVER}/32", "dev", "lo")


class Link(NamedTuple):
    """One node's way to the server.

    Args:
        namespace: The node's network namespace.
        device: The server's end.
    """

    namespace: str
    device: str

    @property
    def carried(self) -> int:
        """Bytes that have passed, both ways, by the kernel's count, with the headers of Ethernet, IP and TCP."""
        stats = json.loads(_run("ip", "-json", "-statistics", "link", "show", self.device))[0]["stats64"]
        return int(stats["rx"]["bytes"]) + int(stats["tx"]["bytes"])


def rows(settings: Mapping[str, Scalar], methods: list[str], kbits: int, milliseconds: int) -> list[dict[str, Any]]:
    """Run each method for two rounds over slow links and report the second, in which the model goes both ways.

    ``up_kb`` and ``down_kb`` are that round's payload per node; ``payload_mb`` and ``wire_mb`` those of the whole run.

    Args:
        settings: The experiment's, but for the method and the number of rounds.
        methods: Names of methods.
        kbits: Rate of each node's link, each way, kbit/s.
        milliseconds: Delay each way.

    Raises:
        RunError: A run failed.
        KeyboardInterrupt: Stopped by the user; processes, namespaces and devices are gone.
    """
    with interruptible():
        return [_row(settings, method, kbits, milliseconds) for method in methods]


def _row(settings: Mapping[str, Scalar], method: str, kbits: int, milliseconds: int) -> dict[str, Any]:
    fixed: dict[str, Scalar] = {"method": method, "rounds": _ROUNDS, "edge.sparsity": 0.0, "edge.precisions": "none"}
    experiment = experiment_of({**settings, **fixed})
    with tempfile.TemporaryDirectory(prefix="fedkd-link-") as folder, ExitStack() as stack:
        federation, links, kind = _federation(Path(folder), experiment, kbits, milliseconds, stack)
        out = Path(folder) / "run"
        try:
            federation.start()
            run = federation.submit({**to_settings(experiment.config), "out": str(out), "engine": "deployment"})
            federation.wait(run, out)
            carried = sum(link.carried for link in links)
        finally:
            federation.processes.stop()
        history = RunFolder(out).history
    if refused := [entry["why"] for row in history for entry in row.refused]:
        raise RunError(f"bench link: {method}: a node's answer was refused: {refused[0]}")
    return {"link": kind, **_summary(method, len(links), history, carried)}


def _federation(
    folder: Path, experiment: Experiment, kbits: int, milliseconds: int, stack: ExitStack
) -> tuple[LocalFederation, Sequence[Link | SlowLink], str]:
    """Make a federation behind links of the kernel's where it gives any, else behind links in user space."""
    count = range(experiment.config.clients)
    try:
        with ExitStack() as made:
            links = [made.enter_context(node_link(number, kbits, milliseconds)) for number in count]
            made.enter_context(server_address())
            stack.push(made.pop_all())
        prefixes = [("ip", "netns", "exec", link.namespace) for link in links]
        return LocalFederation(folder, experiment, _SERVER, prefixes), links, "kernel"
    except RunError as error:
        log.warning("%s; the links are made in user space", error)
    federation = LocalFederation(folder, experiment)
    slow = [SlowLink(federation.port, kbits, milliseconds) for _ in count]
    for link in slow:
        stack.callback(link.close)
    federation.doors = [link.port for link in slow]
    return federation, slow, "user space"


def _summary(method: str, nodes: int, history: Sequence[Round], carried: int) -> dict[str, Any]:
    last = history[-1]
    return {
        "method": method,
        "seconds": last.seconds,
        "up_kb": last.up_bytes / nodes / 1e3,
        "down_kb": last.down_bytes / nodes / 1e3,
        "payload_mb": sum(row.up_bytes + row.down_bytes for row in history) / 1e6,
        "wire_mb": carried / 1e6,
    }


@contextmanager
def server_address() -> Iterator[str]:
    """The address of this machine that nodes behind links reach; gone when this ends.

    Raises:
        RunError: The system refuses it.
    """
    _run("ip", "address", "replace", *_ON_LOOPBACK)  # a bench that was killed has left it
    try:
        yield _SERVER
    finally:
        with uninterrupted():
            _quietly("ip", "address", "delete", *_ON_LOOPBACK)


@contextmanager
def node_link(number: int, kbits: int, milliseconds: int) -> Iterator[Link]:
    """A namespace and a pair of devices that reach into it, slowed down at both ends; gone when this ends.

    Raises:
        RunError: The system refuses it, or processes of a bench that was killed still use it.
    """
    link = Link(f"fedkd-link-{number}", f"fedkd{number}a")
    slow = ("root", "netem", "rate", f"{kbits}kbit", "delay", f"{milliseconds}ms")
    if Path("/run/netns", link.namespace).exists() and (used := _run("ip", "netns", "pids", link.namespace).split()):
        raise RunError(f"network namespace {link.namespace} is in use by processes {', '.join(used)}; end them")
    _remove(link)
    try:
        there = _connect(link, number)
        _run("tc", "qdisc", "add", "dev", link.device, *slow)
        _run("ip", "netns", "exec", link.namespace, "tc", "qdisc", "add", "dev", there, *slow)
        yield link
    finally:
        with uninterrupted():
            _remove(link)


def _connect(link: Link, number: int) -> str:
    """Make a namespace that reaches this machine by a pair of devices alone; returns the one within."""
    there, ours = f"fedkd{number}b", f"10.213.{number}.1"
    inside = ("ip", "-n", link.namespace)
    _run("ip", "netns", "add", link.namespace)
    _run("ip", "link", "add", link.device, "type", "veth", "peer", "name", there, "netns", link.namespace)
    _run("ip", "address", "add", f"{ours}/30", "dev", link.device)
    _run("ip", "link", "set", link.device, "up")
    _run(*inside, "link", "set", "lo", "up")
    _run(*inside, "address", "add", f"10.213.{number}.2/30", "dev", there)
    _run(*inside, "link", "set", there, "up")
    _run(*inside, "route", "add", "default", "via", ours)
    return there


def _remove(link: Link) -> None:
    _quietly("ip", "link", "delete", link.device)  # and its other end; a namespace takes its time to let go of it
    _quietly("ip", "netns", "delete", link.namespace)


def _quietly(*command: str) -> None:
    """Run what fails where there is nothing to remove."""
    with suppress(RunError):
        _run(*command)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise RunError(f"a slow link takes `ip` and `tc` (package iproute2): {command[0]} isn't here") from None
    if done.returncode:
        why = re.sub(r"\s+", " ", done.stderr).strip()
        raise RunError(f"a slow link takes network namespaces, which this system refuses: {' '.join(command)}: {why}")
    return done.stdout
