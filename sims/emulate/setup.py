"""``python -m sims.emulate.setup [DIR]``: a Raspberry Pi 4 for ``fedkd.edge.emulated``; the system stays as it is.

With ``--client``, ``--node`` or ``--device`` it gets all that a client of a federation, ``fedkd-node`` or
``fedkd-device`` takes.
"""

import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from fedkd.base.errors import RunError
from fedkd.base.python import python as this_python
from fedkd.edge.emulated import HOME, Pi4
from sims.emulate.client import ClientPi4, NodePi4
from sims.emulate.device import DevicePi4
from sims.emulate.wheels import for_pi, requirements
from sims.exit_codes import errors_for_people

_PACKAGES = ("python3:arm64", "libstdc++6:arm64")
_QEMU = "qemu-user-static"
# The device's own architecture comes first, so that apt draws in no package that every machine of this one's must have.
# Hooks are of the system's own update; sources and keys are the system's.
_APT = """
APT::Architecture "arm64";
APT::Architectures {{ "arm64"; "{host}"; }};
APT::Install-Recommends "false";
Dir::State "{work}/state";
Dir::State::status "{work}/status";
Dir::Cache "{work}/cache";
#clear APT::Update;
#clear DPkg;
"""
_REASONS = ("E:", "W: Failed", "ERROR:")
_CORES = 4
_CPU = """processor\t: {number}
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

"""


# What a device must be able to import, by its kind; TensorFlow takes minutes in the emulator.
_IMPORTS = {
    Pi4: "fedkd.edge.runtime",
    ClientPi4: "h5py, grpc, scipy",
    NodePi4: "clients.node.app",
    DevicePi4: "ai_edge_litert, grpc, tuf",
}


def setup(home: Path, kind: type[Pi4] = Pi4) -> Pi4:
    """Fill a folder with an emulator, the device's Python and its packages; what is there already stays.

    Args:
        home: Made if missing. Each part appears whole or not at all.
        kind: Says which packages.

    Raises:
        RunError: A part can't be had; one line says which and why.
    """
    device = kind(home.expanduser().absolute())
    device.home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=device.home) as work:
        if not device.python.exists() or device.qemu is None:
            _system(device, Path(work))
        if not device.packages.exists():
            _python_packages(device, Path(work, "packages"))
    done = device.run("-c", f"import {_IMPORTS[kind]}")
    if done.returncode:
        raise RunError(f"the emulated Raspberry Pi 4 in {device.home} doesn't run: {reason(done.stderr)}")
    return device


def _system(device: Pi4, work: Path) -> None:
    """Put the emulator and the device's files in their places."""
    wanted = (*_PACKAGES, *([] if device.qemu else [f"{_QEMU}:{_host()}"]))
    root = work / "sysroot"
    for archive in _download(wanted, work / "apt"):
        folder = work / "qemu" if archive.name.startswith("qemu-") else root
        _call(["dpkg-deb", "--extract", str(archive), str(folder)], f"unpack {archive.name}")
    _link_library_folders(root)
    write_processor(root)
    if device.qemu is None:
        (work / "qemu" / "usr" / "bin" / device.own_qemu.name).resolve().rename(device.own_qemu)
    shutil.rmtree(device.sysroot, ignore_errors=True)
    root.rename(device.sysroot)


def _download(packages: tuple[str, ...], work: Path) -> list[Path]:
    """The archives of Debian packages and all that they need, chosen and verified by apt, in folders of its own."""
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (work / folder).mkdir(parents=True)
    (work / "status").touch()
    settings = work / "apt.conf"
    settings.write_text(_APT.format(host=_host(), work=work))
    apt = ["apt-get", f"--config-file={settings}", "--quiet", "--yes"]
    # Its exit code is no help: it is 0 without a network, and not 0 for a source that isn't needed here.
    update = subprocess.run([*apt, "update"], capture_output=True, text=True, errors="replace", check=False)
    _call(
        [*apt, "--download-only", "install", *packages], f"get {' '.join(packages)} from apt's sources", update.stderr
    )
    return sorted((work / "cache" / "archives").glob("*.deb"))


def _host() -> str:
    """Debian's name of this machine's architecture."""
    if not shutil.which("apt-get") or not shutil.which("dpkg-deb"):
        raise RunError("setting up a Raspberry Pi 4 takes apt-get and dpkg-deb, which Debian has; not found here")
    return _call(["dpkg", "--print-architecture"], "ask dpkg for the architecture").strip()


def _link_library_folders(root: Path) -> None:
    """Where a release has its libraries in usr/ alone, programs still look for their loader in /lib."""
    if not (root / "lib").exists():
        (root / "lib").symlink_to("usr/lib")


def write_processor(root: Path) -> None:
    """Write what Linux says of a Raspberry Pi 4's processor: LiteRT chooses kernels by it, and may crash without."""
    files = {
        "proc/cpuinfo": "".join(_CPU.format(number=number) for number in range(_CORES)),
        "sys/devices/system/cpu/possible": f"0-{_CORES - 1}\n",
        "sys/devices/system/cpu/present": f"0-{_CORES - 1}\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)


def _python_packages(device: Pi4, folder: Path) -> None:
    """Put the device's Python packages in their place."""
    python = device.python.resolve().name.removeprefix("python")
    litert = f"ai-edge-litert=={version('ai-edge-litert')}"
    wanted = {
        Pi4: [litert, "numpy<2.4"],
        ClientPi4: [*requirements("client"), litert, f"tensorflow=={version('tensorflow')}"],
        NodePi4: [*requirements("node"), litert],
        DevicePi4: [*requirements("device"), litert],
    }[type(device)]
    # As on a device, where Python is the one that compiles: imports are slow enough in the emulator.
    same = python == f"{sys.version_info.major}.{sys.version_info.minor}"
    options = ["--no-warn-conflicts", "--compile" if same else "--no-compile", f"--target={folder}"]
    pip = this_python("-m", "pip", "install", *for_pi(python), *options, *wanted)
    _call(pip, f"get {' and '.join(wanted)} for Python {python} on aarch64 from pip's index")
    folder.rename(device.packages)


def _call(command: list[str], what: str, said_before: str = "") -> str:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        raise RunError(f"can't {what}: {reason(said_before + done.stderr)}")
    return done.stdout


def reason(text: str) -> str:
    """The first line that names an error, else the last that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no reason given"]
    return next((line for line in lines if line.startswith(_REASONS)), lines[-1])


def main(
    home: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to fill.")] = HOME,
    client: Annotated[bool, typer.Option("--client", help="All that a client takes, too: 2.3 GB.")] = False,
    node: Annotated[bool, typer.Option("--node", help="All that fedkd-node takes, too: 0.3 GB.")] = False,
    device: Annotated[bool, typer.Option("--device", help="All that fedkd-device takes, too: 0.2 GB.")] = False,
) -> None:
    """Set up an emulated Raspberry Pi 4: 0.2 GB in DIR, 0.7 GB while it is made."""
    with errors_for_people():
        try:
            for kind, wanted in {Pi4: True, ClientPi4: client, NodePi4: node, DevicePi4: device}.items():
                if wanted:
                    setup(home, kind)
        except OSError as error:
            raise RunError(f"can't fill {home}: {error}") from error
        folder = home.expanduser().absolute()
        size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())
        print(f"{folder}: ready, {size / 1e6:.0f} MB")


if __name__ == "__main__":
    typer.run(main)
