"""``fedkd bench node``: what a node's processes take in a round, without TensorFlow beside another engine or build.

A whole federation runs on this machine by ``fedkd deploy up``; the system says what its nodes' processes took. Training
itself is told from all else by runs of more and fewer epochs.
"""

import os
import secrets
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from fedkd.base.errors import RunError
from fedkd.base.memory import peak_memory
from fedkd.base.python import import_path, python
from fedkd.results.run_folder import RunFolder
from sims.signals import interruptible

NODES, ROUNDS = 3, 4
_EPOCHS = (1, 4)
_CLIENTS = b"flwr-clientapp", b"clients.node.clientapp"  # in a command, or a process' own name
_MARK = "FEDKD_BENCH"
_EVERY = 0.01  # seconds between two looks at the processes that are known
_LOOK = 0.1  # and for new ones
_PLAIN = ("partition.kind=iid", "edge.sparsity=0.0", "edge.qat=false", "edge.precisions=none")
_TICKS = os.sysconf("SC_CLK_TCK")
_RATIOS = ("peak_mb", "cpu_with_one_epoch", "cpu_besides_training", "seconds_a_round")


class Side(NamedTuple):
    """What is measured.

    Args:
        name: For the table.
        source: The checkout whose code runs.
        settings: Each ``KEY=VALUE``.
    """

    name: str
    source: Path
    settings: tuple[str, ...] = ()


@dataclass
class Taken:
    """What a process has taken so far: seconds of processor, and bytes of memory at their most."""

    born: float
    cpu: float = 0.0
    memory: int = 0


class Figures(NamedTuple):
    """Medians over the nodes' processes of all rounds but the first, and over those rounds."""

    cpu: float
    memory: int
    seconds: float


@dataclass
class Watch:
    """Watches the nodes' processes among those that carry a mark.

    Args:
        mark: Value of the mark in their environment.
    """

    mark: str
    found: dict[int, Taken] = field(default_factory=dict)
    _seen: set[int] = field(default_factory=set)
    _alive: set[int] = field(default_factory=set)

    def look(self) -> None:
        """Look for new processes; each is asked once what it is."""
        for folder in Path("/proc").glob("[0-9]*"):
            if int(folder.name) not in self._seen:
                with suppress(OSError):  # it has ended meanwhile, or is somebody else's
                    self._ask(folder)

    def _ask(self, folder: Path) -> None:
        pid, said = int(folder.name), (folder / "cmdline").read_bytes() + (folder / "comm").read_bytes()
        mark = f"{_MARK}={self.mark}".encode()
        if any(client in said for client in _CLIENTS) and mark in (folder / "environ").read_bytes():
            self.found[pid] = Taken(time.monotonic())
            self._alive.add(pid)
        if time.time() - folder.stat().st_ctime > 1:  # a younger one may not have its own command yet
            self._seen.add(pid)

    def sample(self) -> None:
        """Read what the known processes have taken."""
        for pid in list(self._alive):
            try:
                stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
                memory = peak_memory(pid)
            except (OSError, IndexError):  # it has ended; of what waits to be cleared away there is no memory any more
                self._alive.discard(pid)
                continue
            taken = self.found[pid]
            taken.cpu, taken.memory = (int(stat[11]) + int(stat[12])) / _TICKS, memory


def rows(task: str, data: str, sides: Sequence[Side], repeats: int) -> list[dict[str, Any]]:
    """Measure all sides in turn, several times.

    Args:
        task: See ``fedkd tasks``.
        data: File with its data; empty where it has them.
        sides: The first is the one that others are divided by.
        repeats: Runs of each, with few and with many epochs.

    Returns:
        A row a side, medians over its runs; what training took of the processor is None where it can't be told.

    Raises:
        RunError: A run failed.
        KeyboardInterrupt: Stopped by the user; no process is left.
    """
    taken: dict[str, dict[int, list[Figures]]] = {side.name: {epochs: [] for epochs in _EPOCHS} for side in sides}
    with interruptible():
        for side, epochs in [(side, epochs) for _ in range(repeats) for epochs in _EPOCHS for side in sides]:
            taken[side.name][epochs].append(_run(side, task, data, epochs))
    found = [_row(task, side.name, taken[side.name]) for side in sides]
    for row in found:
        for key in _RATIOS:
            known = row[key] is not None and found[0][key] is not None
            row[f"{key}_ratio"] = row[key] / found[0][key] if known else None
    return found


def _row(task: str, side: str, taken: Mapping[int, Sequence[Figures]]) -> dict[str, Any]:
    few, many = (statistics.median(run.cpu for run in taken[epochs]) for epochs in _EPOCHS)
    epoch = (many - few) / (_EPOCHS[1] - _EPOCHS[0])
    told = epoch > 0  # else it is less than processes differ by
    return {
        "task": task,
        "node": side,
        "peak_mb": statistics.median(run.memory for runs in taken.values() for run in runs) / 1e6,
        "cpu_with_one_epoch": few,
        "cpu_besides_training": few - epoch if told else None,
        "cpu_training_an_epoch": epoch if told else None,
        "seconds_a_round": statistics.median(run.seconds for run in taken[_EPOCHS[0]]),
    }


def _run(side: Side, task: str, data: str, epochs: int) -> Figures:
    """Run a federation and watch its nodes."""
    with tempfile.TemporaryDirectory(prefix="fedkd-node-") as work:
        out, log = Path(work, "run"), Path(work, "log")
        options = ["--local", str(NODES), "--task", task, "--rounds", str(ROUNDS), "--out", str(out)]
        options += ["--data", data] if data else []
        settings = [f"train.epochs={epochs}", *_PLAIN, *side.settings]
        command = python("-c", "from sims.cli import main; main()", "deploy", "up", *options)
        watch = Watch(secrets.token_hex(8))
        env = {**os.environ, _MARK: watch.mark, "PYTHONPATH": os.pathsep.join([str(side.source), import_path()])}
        with log.open("wb") as said:
            arguments = [*command, *(word for setting in settings for word in ("--set", setting))]
            process = subprocess.Popen(arguments, cwd=work, env=env, stdout=said, stderr=subprocess.STDOUT)
            _follow(process, watch)
        if process.returncode:
            last = log.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
            raise RunError(f"bench node: {side.name}: {last[-1]}")
        rounds = RunFolder(out).history[1:]
    if refused := [entry["why"] for row in rounds for entry in row.refused]:
        raise RunError(f"bench node: {side.name}: a node's answer was refused: {refused[0]}")
    # What has taken nothing was a node's process in the moment in which it started another command.
    seen = [taken for taken in watch.found.values() if taken.cpu and taken.memory]
    ended, wanted = sorted(seen, key=lambda taken: taken.born), NODES * len(rounds)
    if len(ended) < wanted + NODES:
        raise RunError(f"bench node: {side.name}: not all of its nodes' processes were seen; end what else runs here")
    ended = ended[-wanted:]
    cpu, memory = statistics.median(p.cpu for p in ended), statistics.median(p.memory for p in ended)
    return Figures(cpu, int(memory), statistics.median(row.seconds or 0.0 for row in rounds))


def _follow(process: "subprocess.Popen[bytes]", watch: Watch) -> None:
    """Sample the nodes until the federation has ended; what interrupts this ends the federation, too."""
    looked = 0.0
    try:
        while process.poll() is None:
            if time.monotonic() - looked > _LOOK:
                watch.look()
                looked = time.monotonic()
            watch.sample()
            time.sleep(_EVERY)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    watch.sample()


def installed(sources: Mapping[str, Path]) -> list[dict[str, Any]]:
    """Install distributions and all they need in folders of their own, from pip's index, and measure their room.

    Args:
        sources: What pip installs, by what it is called; the first is the one that others are divided by.

    Raises:
        RunError: One can't be installed.
    """
    found: list[dict[str, Any]] = []
    for name, source in sources.items():
        with tempfile.TemporaryDirectory(prefix="fedkd-node-") as work:
            pip = python("-m", "pip", "install", "--quiet", "--ignore-installed", f"--target={work}", str(source))
            done = subprocess.run(pip, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RunError(f"bench node: can't install {name}: {done.stderr.strip().splitlines()[-1]}")
            size = sum(path.lstat().st_blocks * 512 for path in Path(work).rglob("*"))
        found.append({"node": name, "disk_mb": size / 1e6})
        found[-1]["disk_ratio"] = size / 1e6 / found[0]["disk_mb"]
    return found


def sides(against: Path | None) -> list[Side]:
    """What ``fedkd bench node`` measures: the other build's nodes, or this one's with TensorFlow, and those without."""
    here = Path(__file__).parents[2]
    before = Side("with TensorFlow" if against is None else against.name, against or here)
    return [before, Side("fedkd-node", here, ("train.engine=litert",))]
