"""Running a TFLite file in TensorFlow Lite Micro, in a child process, for what it can't run takes its process down."""

import importlib.util
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedkd.base.affine import checked, dequantize, quantize
from fedkd.base.errors import InputError
from fedkd.edge.child import Child, answer_for, ending, rows_run
from fedkd.edge.ops import ops
from fedkd.edge.runtime import describe

_ALLOCATION = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")
_CHATTER = re.compile(r"^(\[Recording|Traceback |\s|$)")
_ERROR_LENGTH = 300
MOST_ARENA = 64 << 20  # more than any microcontroller has; a multiple of 16, or alignment would be counted as used


class Arena(NamedTuple):
    """Bytes that TensorFlow Lite Micro needs beside the file, in the tensor arena.

    Args:
        total: All of them; the least that works.
        head: Those of activations.
        tail: Those of what lasts from one inference to the next.
    """

    total: int
    head: int
    tail: int


class MicroRun(NamedTuple):
    """What a microcontroller would answer, and the memory it would need.

    Args:
        logits: float32 (n, classes).
        arena: Where its tensors are.
    """

    logits: np.ndarray
    arena: Arena


def installed() -> bool:
    """Whether TensorFlow Lite Micro is here: the extra ``tflm``."""
    return importlib.util.find_spec("tflite_micro") is not None


def run_micro(path: Path, x: np.ndarray) -> MicroRun:
    """Run a TFLite classifier in TensorFlow Lite Micro over every row.

    Args:
        path: A TFLite file of one input with batch 1 and one output.
        x: As ``fedkd.edge.runtime.predict`` takes it.

    Raises:
        InputError: The extra ``tflm`` isn't installed, the file is missing, or TensorFlow Lite Micro can't run it.
    """
    if not installed():
        raise InputError("TensorFlow Lite Micro isn't installed: pip install 'fedkd[tflm]' (Linux on x86-64 only)")
    with rows_run("fedkd.edge.tflm", path, x, runtime="TensorFlow Lite Micro", cause=_cause) as (work, child):
        logits = np.load(work / "logits.npy", allow_pickle=False)
    sizes = {kind: int(count) for kind, count in _ALLOCATION.findall(child.stderr)}
    return MicroRun(logits, Arena(**sizes))


def _cause(child: Child) -> str:
    """The first thing the child said on its way down: what comes after it follows from it."""
    words = [line for line in child.stderr.splitlines() if not _CHATTER.match(line)]
    return (words[0] if words else f"it {ending(child)}")[:_ERROR_LENGTH]


def main(path: str, work: str) -> None:
    """In the child: run every row of ``x.npy`` and write ``logits.npy``; the allocations go to stderr."""
    from tflite_micro import runtime

    micro = _open(Path(path), runtime)
    source, sink = micro.get_input_details(0), micro.get_output_details(0)
    rows = checked(np.load(Path(work, "x.npy"), allow_pickle=False), source["shape"], source["dtype"])
    rows = quantize(rows, source["dtype"], *_scale(source))
    logits = np.empty((len(rows), *sink["shape"][1:]), sink["dtype"])
    for row, logit in zip(rows, logits, strict=True):
        micro.set_input(row[np.newaxis], 0)
        micro.invoke()
        logit[...] = micro.get_output(0)[0]
    np.save(Path(work, "logits.npy"), dequantize(logits, *_scale(sink)), allow_pickle=False)
    micro.print_allocations()


def _open(path: Path, runtime: Any) -> Any:
    """An interpreter of a file, or InputError with the ops that this runtime lacks."""
    describe(path)  # LiteRT looks for damage, which this runtime doesn't
    try:
        return runtime.Interpreter.from_file(str(path), arena_size=MOST_ARENA)
    except RuntimeError as error:
        lacking = ", ".join(op.name for op in ops(path) if not op.tflm)
        if not lacking:
            raise
        found = f"it has no {lacking}, which the file calls"
        raise InputError(f"{path} can't run in TensorFlow Lite Micro: {found}") from error


def _scale(details: dict[str, dict[str, np.ndarray]]) -> tuple[float, int]:
    """Scale and zero point of a tensor, 1 and 0 where it has none."""
    held = details["quantization_parameters"]
    return float([*held["scales"], 1.0][0]), int([*held["zero_points"], 0][0])


if __name__ == "__main__":
    answer_for(main, *sys.argv[1:])
