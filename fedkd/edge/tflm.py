"""Running a TFLite file in TensorFlow Lite Micro, in a child process, for what it can't run takes its process down."""

import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fedkd.base.affine import checked, dequantize, quantize
from fedkd.base.errors import InputError
from fedkd.edge.child import Child, answer_for, ending, rows_run
from fedkd.edge.device_runtime import Arena, Run, Runtime
from fedkd.edge.ops import Op, ops

_ALLOCATION = re.compile(r"Arena allocation (total|head|tail) (\d+) bytes")
_CHATTER = re.compile(r"^(\[Recording|Traceback |\s|$)")
_ERROR_LENGTH = 300
MOST_ARENA = 64 << 20  # more than any microcontroller has; a multiple of 16, or alignment would be counted as used


# Those that tflite-micro 0.dev20261023 (the extra tflm) registers. A kernel may still lack a dtype: running it shows.
MICRO_OPS = {
    "ABS", "ADD", "ADD_N", "ARG_MAX", "ARG_MIN", "ASSIGN_VARIABLE", "AVERAGE_POOL_2D", "BATCH_MATMUL",
    "BATCH_TO_SPACE_ND", "BROADCAST_ARGS", "BROADCAST_TO", "CALL_ONCE", "CAST", "CEIL", "CONCATENATION",
    "CONV_2D", "COS", "CUMSUM", "DEPTHWISE_CONV_2D", "DEPTH_TO_SPACE", "DEQUANTIZE", "DIV",
    "DYNAMIC_UPDATE_SLICE", "ELU", "EMBEDDING_LOOKUP", "EQUAL", "EXP", "EXPAND_DIMS", "FILL", "FLOOR",
    "FLOOR_DIV", "FLOOR_MOD", "FULLY_CONNECTED", "GATHER", "GATHER_ND", "GREATER", "GREATER_EQUAL",
    "HARD_SWISH", "IF", "L2_NORMALIZATION", "L2_POOL_2D", "LEAKY_RELU", "LESS", "LESS_EQUAL", "LOG",
    "LOGICAL_AND", "LOGICAL_NOT", "LOGICAL_OR", "LOGISTIC", "LOG_SOFTMAX", "MAXIMUM", "MAX_POOL_2D", "MEAN",
    "MINIMUM", "MIRROR_PAD", "MUL", "NEG", "NOT_EQUAL", "PACK", "PAD", "PADV2", "PRELU", "QUANTIZE",
    "READ_VARIABLE", "REDUCE_ALL", "REDUCE_MAX", "REDUCE_MIN", "RELU", "RELU6", "RESHAPE", "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR", "REVERSE_V2", "ROUND", "RSQRT", "SELECT_V2", "SHAPE", "SIN", "SLICE", "SOFTMAX",
    "SPACE_TO_BATCH_ND", "SPACE_TO_DEPTH", "SPLIT", "SPLIT_V", "SQRT", "SQUARE", "SQUARED_DIFFERENCE",
    "SQUEEZE", "STRIDED_SLICE", "SUB", "SUM", "SVDF", "TANH", "TRANSPOSE", "TRANSPOSE_CONV",
    "UNIDIRECTIONAL_SEQUENCE_LSTM", "UNPACK", "VAR_HANDLE", "WHILE", "ZEROS_LIKE",
}  # fmt: skip


@dataclass(frozen=True)
class Micro(Runtime):
    """TensorFlow Lite Micro with its plain kernels, on this machine."""

    def installed(self) -> bool:
        """Whether the extra ``tflm`` is."""
        return importlib.util.find_spec("tflite_micro") is not None

    def run(self, path: Path, x: np.ndarray) -> Run:
        """See ``Runtime.run``; the arena is measured."""
        return run_micro(path, x)

    def lacks(self, op: Op) -> bool | None:
        """Whether it has none in any dtype."""
        return not op.builtin or op.name not in MICRO_OPS


TFLM = Micro(
    "tflm", "TFLite Micro", "as on a microcontroller (extra tflm)", line="arena",
    unsupported=("float16", "dynamic", "int4"), hint="pip install 'fedkd[tflm]' (Linux on x86-64 only)",
)  # fmt: skip


def run_micro(path: Path, x: np.ndarray) -> Run:
    """Run a TFLite file in TensorFlow Lite Micro over every row, in a child process.

    Args:
        path: A TFLite file of one input with batch 1 and one output.
        x: As ``fedkd.edge.runtime.predict`` takes it.

    Raises:
        InputError: The extra ``tflm`` isn't installed, the file is missing, or TensorFlow Lite Micro can't run it.
    """
    TFLM.check()
    with rows_run("fedkd.edge.tflm", path, x, runtime="TensorFlow Lite Micro", cause=_cause) as (work, child):
        outputs = np.load(work / "outputs.npy", allow_pickle=False)
    sizes = {kind: int(count) for kind, count in _ALLOCATION.findall(child.stderr)}
    return Run(outputs, Arena(**sizes))


def _cause(child: Child) -> str:
    """The first thing the child said on its way down: what comes after it follows from it."""
    words = [line for line in child.stderr.splitlines() if not _CHATTER.match(line)]
    return (words[0] if words else f"it {ending(child)}")[:_ERROR_LENGTH]


def main(path: str, work: str) -> None:
    """In the child: run every row of ``x.npy`` and write ``outputs.npy``; the allocations go to stderr."""
    from tflite_micro import runtime

    micro = _open(Path(path), runtime)
    source, sink = micro.get_input_details(0), micro.get_output_details(0)
    rows = checked(np.load(Path(work, "x.npy"), allow_pickle=False), source["shape"], source["dtype"])
    rows = quantize(rows, source["dtype"], *_scale(source))
    outputs = np.empty((len(rows), *sink["shape"][1:]), sink["dtype"])
    for row, output in zip(rows, outputs, strict=True):
        micro.set_input(row[np.newaxis], 0)
        micro.invoke()
        output[...] = micro.get_output(0)[0]
    np.save(Path(work, "outputs.npy"), dequantize(outputs, *_scale(sink)), allow_pickle=False)
    micro.print_allocations()


def _open(path: Path, runtime: Any) -> Any:
    """An interpreter of a file, or InputError with the ops that this runtime lacks."""
    from fedkd.edge.runtime import describe

    describe(path)  # LiteRT looks for damage, which this runtime doesn't
    try:
        return runtime.Interpreter.from_file(str(path), arena_size=MOST_ARENA)
    except RuntimeError as error:
        lacking = ", ".join(op.name for op in ops(path) if TFLM.lacks(op))
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
