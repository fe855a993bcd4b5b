"""Running a TFLite file in LiteRT as a device does; needs neither keras nor tensorflow."""

import gzip
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from fedkd.edge.steps import QUANTISED, checked, dequantise, quantise
from fedkd.errors import InputError
from fedkd.quiet import silent_stderr


class DeviceModel(TypedDict):
    """What an engineer asks of a file before flashing it.

    Attributes:
        path: File name, without its directory.
        precision: What the file holds, whatever its name says: float32, float16, dynamic, int8 or int16x8.
        bytes: Size of the file.
        gzip_bytes: Size over the air, gzip level 9.
        input_dtype: What the device feeds.
        output_dtype: What it reads.
        float_tensors: How many tensors are float32 or float16; 0 in a fully integer file.
        tensors: How many tensors there are.
    """

    path: str
    precision: str
    bytes: int
    gzip_bytes: int
    input_dtype: str
    output_dtype: str
    float_tensors: int
    tensors: int


def predict(path: Path, x: np.ndarray) -> np.ndarray:
    """Run a TFLite classifier over every row, one at a time, on one thread.

    Args:
        path: A TFLite file of one input with batch 1 and one output.
        x: Floats (n, *input_shape) for a model that takes float32, or int8 or int16, which are quantised here with the
            file's own scale; integers (n, *input_shape) for one that takes int32 ids.

    Returns:
        Logits, float32 (n, classes), dequantised if the file gives integers.

    Raises:
        InputError: The file is missing, is not TFLite, can't run here, or `x` does not fit its input.
    """
    interpreter = _open(path)
    source, sink = _ends(interpreter, path)
    _allocate(interpreter, path)
    rows = quantise(checked(x, source["shape"], source["dtype"]), source["dtype"], *source["quantization"])
    logits = np.empty((len(rows), *sink["shape"][1:]), sink["dtype"])
    for row, logit in zip(rows, logits, strict=True):
        interpreter.set_tensor(source["index"], row[np.newaxis])
        interpreter.invoke()
        logit[...] = interpreter.get_tensor(sink["index"])[0]
    return dequantise(logits, *sink["quantization"])


def activations(path: Path, x: np.ndarray) -> list[np.ndarray]:
    """Run a TFLite file over every row and return what each of its operations computed, in LiteRT's own kernels.

    Args:
        path: As for ``predict``.
        x: As for ``predict``.

    Returns:
        By operation, its first output, dequantised, float32 (n, numbers).

    Raises:
        InputError: As ``predict``.
    """
    from ai_edge_litert.tools.flatbuffer_utils import read_model

    kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES  # others don't write what passes between operations
    interpreter = _open(path, experimental_op_resolver_type=kernels, experimental_preserve_all_tensors=True)
    source, _ = _ends(interpreter, path)
    _allocate(interpreter, path)
    ends = [operation.outputs[0] for operation in read_model(str(path)).subgraphs[0].operators]
    scales = {tensor["index"]: tensor["quantization"] for tensor in interpreter.get_tensor_details()}
    found: list[list[np.ndarray]] = [[] for _ in ends]
    for row in quantise(checked(x, source["shape"], source["dtype"]), source["dtype"], *source["quantization"]):
        interpreter.set_tensor(source["index"], row[np.newaxis])
        interpreter.invoke()
        for end, outputs in zip(ends, found, strict=True):
            outputs.append(dequantise(interpreter.get_tensor(end), *scales[end]).ravel())
    return [np.array(outputs) for outputs in found]


def describe(path: Path) -> DeviceModel:
    """Measure a TFLite file.

    Args:
        path: A TFLite file of one input and one output.

    Returns:
        Its sizes in bytes, its dtypes and its tensor counts.

    Raises:
        InputError: The file is missing, is not TFLite, or has other ends.
    """
    # Not allocated: kernels would add scratch tensors, and the count is to be the file's own.
    interpreter = _open(path)
    source, sink = _ends(interpreter, path)
    dtypes = [np.dtype(tensor["dtype"]) for tensor in interpreter.get_tensor_details()]
    content = path.read_bytes()
    return DeviceModel(
        path=path.name,
        precision=_precision(dtypes, np.dtype(sink["dtype"])),
        bytes=len(content),
        gzip_bytes=len(gzip.compress(content, compresslevel=9, mtime=0)),
        input_dtype=np.dtype(source["dtype"]).name,
        output_dtype=np.dtype(sink["dtype"]).name,
        float_tensors=sum(dtype.kind == "f" for dtype in dtypes),
        tensors=len(dtypes),
    )


def _open(path: Path, **options: Any) -> Interpreter:
    """Open a TFLite file, or raise InputError."""
    if not path.is_file():
        raise InputError(f"{path} must be a TFLite file, got no file there")
    try:
        return Interpreter(str(path), num_threads=1, **options)
    except ValueError as error:
        raise InputError(f"{path} must be a TFLite file: {error}") from error


def _allocate(interpreter: Interpreter, path: Path) -> None:
    """Make the interpreter ready to run, or raise InputError for an op that LiteRT lacks."""
    try:
        with silent_stderr():
            interpreter.allocate_tensors()
    except RuntimeError as error:
        raise InputError(f"{path} can't run in LiteRT: {error}") from error


def _ends(interpreter: Interpreter, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The details of the one input and the one output."""
    sources, sinks = interpreter.get_input_details(), interpreter.get_output_details()
    if len(sources) != 1 or len(sinks) != 1 or list(sources[0]["shape"][:1]) != [1]:
        found = f"{len(sources)} and {len(sinks)}, input shape {tuple(sources[0]['shape']) if sources else ()}"
        raise InputError(f"{path} must have one input of batch 1 and one output, got {found}")
    return sources[0], sinks[0]


def _precision(dtypes: list[np.dtype], output: np.dtype) -> str:
    """Name the precision by the tensors a file holds."""
    if output in QUANTISED:
        return "int8" if output == np.int8 else "int16x8"
    if np.dtype(np.float16) in dtypes:
        return "float16"
    return "dynamic" if np.dtype(np.int8) in dtypes else "float32"
