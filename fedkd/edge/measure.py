"""All that is measured of a device file before it is called usable."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedkd.base.errors import InputError
from fedkd.edge.litert import run_lite
from fedkd.edge.ops import Op
from fedkd.edge.runtime import Latency
from fedkd.edge.tflm import Arena, run_micro


@dataclass(frozen=True)
class Measurement:
    """A device file in the runtimes of devices.

    Args:
        path: The file.
        precision: What it holds, see ``fedkd.edge.runtime.describe``.
        flash_bytes: Its size.
        gzip_bytes: Its size over the air.
        float_tensors: How many of its tensors are float32 or float16.
        tensors: How many it has.
        arena: Its memory in TensorFlow Lite Micro; None where it wasn't or couldn't be run there.
        logits: float32 (n, classes), by runtime: ``litert`` (XNNPACK), ``litert_reference``, ``tflm``.
        latency: Milliseconds in ``litert``, on one thread of this machine.
        ops: What it is made of.
        errors: One line, by runtime, that says why it couldn't be run there.
    """

    path: Path
    precision: str
    flash_bytes: int
    gzip_bytes: int
    float_tensors: int
    tensors: int
    arena: Arena | None
    logits: Mapping[str, np.ndarray]
    latency: Latency | None
    ops: tuple[Op, ...]
    errors: Mapping[str, str]


def measure(path: Path, x: np.ndarray, micro: bool) -> Measurement:
    """Run a file over every row in each runtime, each in a child process.

    Args:
        path: A TFLite file of one input with batch 1 and one output.
        x: At least one row, as ``fedkd.edge.runtime.predict`` takes them.
        micro: Whether it is meant for TensorFlow Lite Micro, too.

    Raises:
        InputError: The file is missing, truncated, no TFLite, or can't run in LiteRT; or `x` doesn't fit its input.
    """
    lite = run_lite(path, x)
    logits, errors, arena = {"litert": lite.logits}, dict[str, str](), None
    try:
        logits["litert_reference"] = run_lite(path, x, "reference").logits
    except InputError as error:
        errors["litert_reference"] = str(error)
    if micro:
        try:
            logits["tflm"], arena = run_micro(path, x)
        except InputError as error:
            errors["tflm"] = str(error)
    file = lite.file
    sizes = (file["bytes"], file["gzip_bytes"], file["float_tensors"], file["tensors"])
    return Measurement(path, file["precision"], *sizes, arena, logits, lite.latency, lite.ops, errors)
