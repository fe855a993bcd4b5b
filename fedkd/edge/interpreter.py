"""LiteRT's interpreter of a TFLite classifier; what it refuses is one line."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from fedkd.base.errors import InputError
from fedkd.base.stderr import suppress_stderr
from fedkd.edge.litert_internals import make_interpreter
from fedkd.edge.ops import ops

# What LiteRT takes by default, and plain loops, which avoid XNNPACK and which other runtimes' kernels are made after.
KERNELS = {"xnnpack": OpResolverType.AUTO, "reference": OpResolverType.BUILTIN_REF}
_ERROR_LENGTH = 300


class End(NamedTuple):
    """The input or the output of a file.

    Args:
        tensor: Its number.
        shape: With the batch, which is 1 for an input.
        dtype: What the device feeds or reads.
        scale: Real numbers are (integer - zero point) * scale; 0 where there are no integers.
        zero_point: The integer that stands for 0.
    """

    tensor: int
    shape: tuple[int, ...]
    dtype: np.dtype
    scale: float
    zero_point: int


def opened(path: Path, kernels: str = "xnnpack", keep: bool = False) -> Interpreter:
    """Open a TFLite file.

    Args:
        path: The file.
        kernels: One of KERNELS.
        keep: What passes between operations, so that it can be read; XNNPACK doesn't write it.

    Raises:
        InputError: It is missing, damaged, cut short or no TFLite, or there are no such kernels.
    """
    if kernels not in KERNELS:
        raise InputError(f"kernels must be one of {', '.join(KERNELS)}, got {kernels!r}")
    if not path.is_file():
        raise InputError(f"{path} must be a TFLite file, got no file there")
    try:
        return make_interpreter(path, KERNELS[kernels], keep)
    except ValueError as error:
        found = f"{path.stat().st_size:,} bytes that are none, or damaged, or only a part of one"
        raise InputError(f"{path} must be a TFLite file, got {found}: {_line(error)}") from error


def ends(interpreter: Interpreter, path: Path) -> tuple[End, End]:
    """The one input and the one output.

    Raises:
        InputError: There are others, or the batch isn't 1.
    """
    sources, sinks = interpreter.get_input_details(), interpreter.get_output_details()
    if len(sources) != 1 or len(sinks) != 1 or list(sources[0]["shape"][:1]) != [1]:
        found = f"{len(sources)} and {len(sinks)}, input shape {tuple(sources[0]['shape']) if sources else ()}"
        raise InputError(f"{path} must have one input of batch 1 and one output, got {found}")
    return _end(sources[0]), _end(sinks[0])


def _end(details: dict[str, Any]) -> End:
    shape = tuple(int(size) for size in details["shape"])
    return End(details["index"], shape, np.dtype(details["dtype"]), *details["quantization"])


def allocate(interpreter: Interpreter, path: Path) -> None:
    """Make the interpreter ready to run.

    Raises:
        InputError: LiteRT lacks an op, which is named, or refuses one.
    """
    try:
        with suppress_stderr():
            interpreter.allocate_tensors()
    except RuntimeError as error:
        lacking = ", ".join(op.name for op in ops(path) if not op.builtin)
        cause = f"it has no {lacking}, which the file calls" if lacking else _line(error)
        raise InputError(f"{path} can't run in LiteRT: {cause}") from error


def invoke(interpreter: Interpreter, path: Path) -> None:
    """Run once, with the input that is set.

    Raises:
        InputError: A kernel fails.
    """
    try:
        interpreter.invoke()
    except RuntimeError as error:
        raise InputError(f"{path} can't run in LiteRT: {_line(error)}") from error


def _line(error: Exception) -> str:
    """What an exception says, on one line."""
    return " ".join(str(error).split())[:_ERROR_LENGTH]
