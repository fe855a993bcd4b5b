"""All that is measured of a device file before it is called usable."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedkd.base.errors import InputError
from fedkd.edge.contents import contents
from fedkd.edge.device_runtime import Arena, Latency, Run
from fedkd.edge.ops import Op
from fedkd.edge.runtimes import RUNTIMES


@dataclass(frozen=True, eq=False)
class Measurement:
    """A device file in the runtimes of devices.

    Args:
        path: The file.
        precision: What it holds, see ``fedkd.edge.runtime.describe``.
        flash_bytes: Its size.
        gzip_bytes: Its size over the air.
        float_tensors: How many of its tensors are float32 or float16.
        tensors: How many it has.
        ops: What it is made of.
        output_scale: Size of one step of its output, 0 where that is float.
        runs: What came of it, by the runtime's name.
        errors: One line, by the runtime's name, that says why it couldn't be run there.
        held: Lowest and highest number that its input holds, and a step; None where that isn't of int8 or int16.
    """

    path: Path
    precision: str
    flash_bytes: int
    gzip_bytes: int
    float_tensors: int
    tensors: int
    ops: tuple[Op, ...]
    output_scale: float
    runs: Mapping[str, Run]
    errors: Mapping[str, str]
    held: tuple[float, float, float] | None = None

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        """What it answers, float32 (n, k), by the runtime's name."""
        return {name: run.outputs for name, run in self.runs.items()}

    @property
    def arena(self) -> Arena | None:
        """Its memory in the runtime that has an arena; None where it wasn't or couldn't be run there."""
        return next((run.arena for run in self.runs.values() if run.arena), None)

    @property
    def latency(self) -> tuple[str, Latency] | None:
        """The first runtime that took its time, and the time; None where none did."""
        return next(((name, run.latency) for name, run in self.runs.items() if run.latency), None)


def measure(path: Path, x: np.ndarray, runtimes: Sequence[str] = ("litert", "litert_reference")) -> Measurement:
    """Run a file over every row in some runtimes, each in a child process.

    Args:
        path: A TFLite file of one input with batch 1 and one output.
        x: At least one row, as ``fedkd.edge.runtime.predict`` takes them.
        runtimes: Names of ``fedkd.edge.runtimes.RUNTIMES``, at least one.

    Raises:
        InputError: A runtime isn't known; the file is missing, truncated, no TFLite, or can't run in the first of them;
            or `x` doesn't fit its input.
    """
    if unknown := [name for name in runtimes if name not in RUNTIMES]:
        raise InputError(f"runtime must be one of {', '.join(RUNTIMES)}, got {unknown[0]!r}")
    runs, errors = {runtimes[0]: RUNTIMES[runtimes[0]].run(path, x)}, dict[str, str]()
    for name in runtimes[1:]:
        try:
            runs[name] = RUNTIMES[name].run(path, x)
        except InputError as error:
            errors[name] = str(error)
    file, ops, scale, held = contents(path)
    sizes = (file["flash_bytes"], file["gzip_bytes"], file["float_tensors"], file["tensors"])
    return Measurement(path, file["precision"], *sizes, ops, scale, runs, errors, held)
