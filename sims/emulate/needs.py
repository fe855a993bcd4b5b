"""``python -m sims.emulate.needs DIR``: what a client and a device take of a Raspberry Pi's disk and memory."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, NamedTuple

import typer

from fedkd.base.errors import InputError, RunError
from fedkd.base.python import python
from fedkd.config.config import Scalar
from fedkd.edge.emulated import HOME, Pi4
from sims.emulate.client import ClientPi4, NodePi4, play, prepare
from sims.emulate.device import DevicePi4
from sims.exit_codes import errors_for_people

_SETTINGS: dict[str, Scalar] = {"clients": 30, "rounds": 3, "train.epochs": 1, "exchange.energy_start": 0.6}
_BIN = Path(sys.executable).parent
# What lives as long as the service does; what they take is nearly all in their imports.
_RESIDENT = {
    "client": {
        "SuperNode, always there": [str(_BIN / "flower-supernode"), "--help"],
        "SuperExec, always there": [str(_BIN / "flower-superexec"), "--help"],
    },
    "device": {
        "fedkd-device": python("-c", "import clients.device.cli"),
        "its child with LiteRT": python("-c", "import clients.device.child"),
    },
}
# In a small process of its own, since Linux counts what the one that starts a process held as that one's peak, too.
_PEAK = """import resource, subprocess, sys
subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"""


class Need(NamedTuple):
    """One line of the table.

    Args:
        role: ``client``, ``node`` (a client without TensorFlow) or ``device``.
        what: Disk or process.
        megabytes: Size on this machine; on disk those of the aarch64 wheels.
        emulated: Megabytes in the emulator, whose own memory counts; None where that wasn't measured.
    """

    role: str
    what: str
    megabytes: int
    emulated: int | None = None


def disk(device: Pi4, role: str) -> Need:
    """Room that the packages of a device take, compiled.

    Raises:
        InputError: They aren't there.
    """
    if not device.packages.exists():
        raise InputError(f"{device.packages}: not there; run python -m sims.emulate.setup --{role} {device.home}")
    size = sum(path.lstat().st_blocks * 512 for path in device.packages.rglob("*"))
    return Need(role, "packages on disk", round(size / 1e6))


def resident(role: str) -> list[Need]:
    """Peak memory of what lives beside the training or the model."""
    return [Need(role, name, peak(command)) for name, command in _RESIDENT[role].items()]


def peak(command: list[str]) -> int:
    """Peak resident memory of a command, in MB.

    Raises:
        RunError: It failed.
    """
    done = subprocess.run(python("-c", _PEAK, *command), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RunError(f"{' '.join(command)} failed: {done.stderr.strip().splitlines()[-1]}")
    return round(int(done.stdout) * 1024 / 1e6)


def training(role: str, task: str, device: Pi4 | None) -> Need:
    """Peak memory of the process that trains in a round, here and in the emulator if one is given."""
    with tempfile.TemporaryDirectory() as work:
        found = []
        for name, machine in (("here", None), *([("pi", device)] if device else [])):
            prepare(Path(work, name), _SETTINGS | {"task": task}, role == "node")
            found.append(round(play(Path(work, name), machine).memory / 1e6))
    return Need(role, f"round of {task}", *found)


def main(
    home: Annotated[Path, typer.Argument(metavar="DIR", help="See `python -m sims.emulate.setup --help`.")] = HOME,
    task: Annotated[list[str] | None, typer.Option(help="To train; may be repeated. (default: digits)")] = None,
    emulated: Annotated[bool, typer.Option("--emulated", help="Train in the emulator, too: minutes.")] = False,
) -> None:
    """Measure disk and memory, and print them as a table."""
    with errors_for_people():
        folder = home.expanduser().absolute()
        clients: dict[str, Pi4] = {"client": ClientPi4(folder), "node": NodePi4(folder)}
        needs = [disk(pi, role) for role, pi in {**clients, "device": DevicePi4(folder)}.items()]
        needs += resident("client")
        for role, pi in clients.items():
            needs += [training(role, name, pi if emulated else None) for name in task or ["digits"]]
        print("| role | what | MB | MB in the emulator |\n|---|---|---|---|")
        for need in [*needs, *resident("device")]:
            print(f"| {need.role} | {need.what} | {need.megabytes} | {need.emulated or ''} |")


if __name__ == "__main__":
    typer.run(main)
