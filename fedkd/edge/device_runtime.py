"""What a runtime of device files is: where a file can be run, and what is learned of it there."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fedkd.base.errors import InputError
from fedkd.edge.ops import Op


class Arena(NamedTuple):
    """Bytes that a runtime of microcontrollers needs beside the file, in the tensor arena.

    Args:
        total: All of them; the least that works.
        head: Those of activations.
        tail: Those of what lasts from one inference to the next.
    """

    total: int
    head: int
    tail: int


class Latency(NamedTuple):
    """Milliseconds of one inference on one thread of this machine.

    Args:
        median: Half take longer.
        p95: One in twenty takes longer.
    """

    median: float
    p95: float


class Run(NamedTuple):
    """What a runtime made of a file and some rows.

    Args:
        outputs: float32 (n, k), dequantized.
        arena: The memory it needed; None where it has no arena.
        latency: How long an inference took; None where that says nothing of a device.
    """

    outputs: np.ndarray
    arena: Arena | None = None
    latency: Latency | None = None


@dataclass(frozen=True)
class Runtime(ABC):
    """A runtime of device files; ``fedkd.edge.runtimes`` lists them all.

    Args:
        name: In files of results and on the command line.
        label: What reports call it.
        help: What the help of the command line says of it.
        device: Whether devices have it, so that answers there count; else it is a reference for others.
        line: The line of a budget that only a file measured here can keep to, and without which no file is run here;
            empty where files are always run here.
        emulated: Whether it takes so long that files are run here only on request.
        unsupported: Precisions that it has no kernels for.
        hint: How to install it.
    """

    name: str
    label: str
    help: str = ""
    device: bool = True
    line: str = ""
    emulated: bool = False
    unsupported: tuple[str, ...] = ()
    hint: str = ""

    def installed(self) -> bool:
        """Whether it is here."""
        return True

    def check(self) -> None:
        """Say why it can't be used, before anything is done.

        Raises:
            InputError: It isn't here, or doesn't work.
        """
        if not self.installed():
            raise InputError(f"{self.label} isn't installed: {self.hint}")

    @abstractmethod
    def run(self, path: Path, x: np.ndarray) -> Run:
        """Run a TFLite file over every row, in a child process, for a damaged file can take its process down.

        Args:
            path: A TFLite file of one input with batch 1 and one output.
            x: At least one row, as ``fedkd.edge.runtime.predict`` takes them.

        Raises:
            InputError: It isn't installed, the file is missing or can't run here, or `x` doesn't fit its input.
        """

    def lacks(self, op: Op) -> bool | None:
        """Whether it has no kernel for an operation; None where only running a file shows it."""
        return None
