"""``fedkd-device`` as a Raspberry Pi runs it: fetches, verifies and tries a model on an emulated one."""

import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from fedkd.edge.emulated import Pi4

_PROGRAM = "import sys; sys.executable = sys.argv.pop(1); from clients.device.cli import main; main()"


@dataclass(frozen=True)
class DevicePi4(Pi4):
    """An emulated Raspberry Pi 4 with all that ``fedkd-device`` takes, and no more."""

    @property
    def packages(self) -> Path:
        """The device's Python packages: LiteRT in the version of this machine, and the rest."""
        return self.home / f"device-{version('ai-edge-litert')}"

    def fedkd_device(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run ``fedkd-device`` with some arguments."""
        return self.run("-c", _PROGRAM, str(self._starter()), *arguments)

    def _starter(self) -> Path:
        """The device's Python as a command of this machine: the kernel can't start the device's programs itself."""
        path = self.home / "device-python"
        path.write_text(f'#!/bin/sh\nexec {self.qemu} -cpu cortex-a72 -L {self.sysroot} {self.python} -S "$@"\n')
        path.chmod(0o755)
        return path
