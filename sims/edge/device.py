"""What is made of the chosen file: C++ source for a firmware, and answers of an emulated device."""

from pathlib import Path
from typing import Any

from fedkd.edge.c_array import write_c_array
from fedkd.edge.emulate import HOME, Pi4, check
from fedkd.errors import InputError
from fedkd.tasks.task import Task

DEVICES = ("pi4",)


def check_device(name: str) -> None:
    """Say why a device can't be emulated, before anything is done.

    Raises:
        InputError: It isn't known, or isn't set up.
    """
    if name not in DEVICES:
        raise InputError(f"--emulate must be {' or '.join(DEVICES)}, got {name!r}")
    Pi4(HOME.expanduser().absolute()).run("-c", "")


def to_c(folder: Path, chosen: dict[str, Any], task: Task) -> str:
    """Write the chosen file as C++ source, with the first test example as golden input; return which files."""
    files = write_c_array(folder / chosen["path"], task.test.x[0], folder, chosen["arena_bytes"], task.classes)
    return f"source: {', '.join(str(file) for file in files)}"


def emulated(folder: Path, chosen: dict[str, Any], task: Task) -> str:
    """Run the chosen file on an emulated Raspberry Pi 4 over the test set; return how its answers compare."""
    found = check(folder / chosen["path"], task.test.x)
    apart = f"{found.difference:.2g}" if found.steps is None else f"{found.steps} steps"
    return (
        f"emulated pi4: decides {100 * found.agreement:.1f} % of {len(task.test):,} test examples as LiteRT does here;"
        f" logits differ by {apart} at most"
    )
