"""Running a TFLite file as a Raspberry Pi 4 does: the device's own LiteRT wheel, on its processor as qemu knows it."""

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fedkd.base.errors import InputError
from fedkd.edge.child import answer_for, ending, raise_refused
from fedkd.edge.device_runtime import Run, Runtime

HOME = Path("~/.cache/fedkd/pi4")
_PROJECT = Path(__file__).parents[2]


class Difference(NamedTuple):
    """How far an emulated device's outputs are from those of LiteRT here.

    Args:
        difference: Largest difference of two numbers.
        steps: The same in steps of the file's output; None where it is float.
    """

    difference: float
    steps: int | None


@dataclass(frozen=True)
class Pi4:
    """Where the parts of an emulated Raspberry Pi 4 are.

    Args:
        home: Folder that ``python -m sims.emulate.setup`` filled, absolute.
    """

    home: Path

    @property
    def own_qemu(self) -> Path:
        """The emulator, where the system has none."""
        return self.home / "qemu-aarch64-static"

    @property
    def qemu(self) -> Path | None:
        """The emulator, the system's if it has one."""
        found = shutil.which("qemu-aarch64-static") or shutil.which(self.own_qemu)
        return Path(found) if found else None

    @property
    def sysroot(self) -> Path:
        """The device's files: Python and the libraries it needs."""
        return self.home / "sysroot"

    @property
    def python(self) -> Path:
        """The device's Python."""
        return self.sysroot / "usr" / "bin" / "python3"

    @property
    def packages(self) -> Path:
        """The device's Python packages: LiteRT in the version of this machine, for kernels differ between versions."""
        return self.home / f"litert-{version('ai-edge-litert')}"

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the device's Python with the device's packages and this project, and with nothing else of this machine.

        Raises:
            InputError: The device isn't set up.
        """
        if self.qemu is None or not self.python.exists() or not self.packages.exists():
            raise InputError(
                f"no Raspberry Pi 4 is set up in {self.home}: run python -m sims.emulate.setup {self.home}"
            )
        environment = {"PYTHONPATH": f"{self.packages}:{_PROJECT}", "LANG": "C.UTF-8", "OPENBLAS_NUM_THREADS": "1"}
        machine = [str(self.qemu), "-cpu", "cortex-a72", "-L", str(self.sysroot)]
        return subprocess.run(
            # Without -S, Python would look for packages of this machine's, too; without -P, in the current folder.
            [*machine, str(self.python), "-S", "-P", *arguments],
            env=environment, capture_output=True, encoding="utf-8", errors="replace", check=False,
        )  # fmt: skip


def emulate(path: Path, x: np.ndarray, home: Path | None = None) -> np.ndarray:
    """Run a TFLite file on an emulated Raspberry Pi 4 over every row.

    Answers are those of the device; how long they take says nothing about it.

    Args:
        path: A TFLite file of one input with batch 1 and one output.
        x: As ``fedkd.edge.runtime.predict`` takes it.
        home: Folder that ``python -m sims.emulate.setup`` filled; ``HOME`` where None.

    Returns:
        Outputs, float32 (n, k), as ``predict`` returns them.

    Raises:
        InputError: The device isn't set up, the file is missing or can't run there, or `x` does not fit its input.
    """
    with tempfile.TemporaryDirectory() as work:
        np.save(Path(work, "x.npy"), x, allow_pickle=False)
        guest = Pi4((home or HOME).expanduser().absolute()).run("-m", __name__, str(path.absolute()), work)
        raise_refused(guest)
        if guest.returncode:
            said = (guest.stderr.strip().splitlines() or [f"it {ending(guest)}"])[-1]
            raise InputError(f"{path} can't run on an emulated Raspberry Pi 4: {said}")
        return np.load(Path(work, "outputs.npy"), allow_pickle=False)


def compare(expected: np.ndarray, emulated: np.ndarray, scale: float) -> Difference:
    """Compare the outputs of two machines; kernels of two processors may round to neighbouring steps.

    Args:
        expected: float32 (n, k), at least one row.
        emulated: Alike.
        scale: Size of one step of the file's output, 0 where it is float.
    """
    difference = float(np.abs(expected - emulated).max())
    return Difference(difference, round(difference / scale) if scale else None)


@dataclass(frozen=True)
class EmulatedPi4(Runtime):
    """LiteRT on the emulated Raspberry Pi 4 in ``HOME``."""

    def installed(self) -> bool:
        """Whether all of its parts are there, and work."""
        return not self._trouble()

    def check(self) -> None:
        """Start it."""
        if trouble := self._trouble():
            raise InputError(trouble)

    def run(self, path: Path, x: np.ndarray) -> Run:
        """See ``Runtime.run``; how long it takes says nothing of a device."""
        return Run(emulate(path, x))

    def _trouble(self) -> str:
        home = HOME.expanduser().absolute()
        try:
            started = Pi4(home).run("-c", "import ai_edge_litert, numpy")
        except InputError as error:
            return str(error)
        if not started.returncode:
            return ""
        said = (started.stderr.strip().splitlines() or [f"exit code {started.returncode}"])[-1]
        return f"the emulated Raspberry Pi 4 in {home} doesn't work ({said}): remove the folder and {self.hint}"


PI4 = EmulatedPi4(
    "pi4", "an emulated Raspberry Pi 4", emulated=True, hint="run python -m sims.emulate.setup",
)  # fmt: skip


def main(path: str, work: str) -> None:
    """On the device: run every row of ``x.npy`` and write ``outputs.npy``."""
    from fedkd.edge.runtime import predict

    rows = np.load(Path(work, "x.npy"), allow_pickle=False)
    np.save(Path(work, "outputs.npy"), predict(Path(path), rows), allow_pickle=False)


if __name__ == "__main__":
    answer_for(main, *sys.argv[1:])
