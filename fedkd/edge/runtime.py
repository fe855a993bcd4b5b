"""Running a TFLite file in LiteRT as a device does; needs neither keras nor tensorflow."""

import gzip
import time
from itertools import cycle
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from fedkd.base.affine import QUANTIZED, checked, dequantize, quantize
from fedkd.base.errors import InputError
from fedkd.edge.device_runtime import Latency
from fedkd.edge.interpreter import End, allocate, ends, invoke, opened
from fedkd.edge.litert_internals import held_types

_WARM_UP, _FEWEST, _MOST, _SECONDS = 20, 20, 200, 1.0


class DeviceModel(TypedDict):
    """What an engineer asks of a file before flashing it.

    Attributes:
        path: File name, without its directory.
        precision: What the file holds, whatever its name says: float32, float16, dynamic, int4, int8 or int16x8.
        flash_bytes: Size of the file.
        gzip_bytes: Size over the air, gzip level 9.
        input_dtype: What the device feeds.
        output_dtype: What it reads.
        float_tensors: How many tensors are float32 or float16; 0 in a fully integer file.
        tensors: How many tensors there are.
    """

    path: str
    precision: str
    flash_bytes: int
    gzip_bytes: int
    input_dtype: str
    output_dtype: str
    float_tensors: int
    tensors: int


def predict(path: Path, x: np.ndarray, kernels: str = "xnnpack") -> np.ndarray:
    """Run a TFLite classifier over every row, one at a time, on one thread.

    Args:
        path: A TFLite file of one input with batch 1 and one output.
        x: Floats (n, *input_shape) for a model that takes float32, or int8 or int16, which are quantized here with the
            file's own scale; integers (n, *input_shape) for one that takes int32 ids.
        kernels: One of ``fedkd.edge.interpreter.KERNELS``.

    Returns:
        Logits, float32 (n, classes), dequantized if the file gives integers.

    Raises:
        InputError: The file is missing, is not TFLite, can't run here, or `x` does not fit its input.
    """
    interpreter, source, sink, rows = _ready(path, x, kernels)
    logits = np.empty((len(rows), *sink.shape[1:]), sink.dtype)
    for row, logit in zip(rows, logits, strict=True):
        interpreter.set_tensor(source.tensor, row[np.newaxis])
        invoke(interpreter, path)
        logit[...] = interpreter.get_tensor(sink.tensor)[0]
    return dequantize(logits, sink.scale, sink.zero_point)


def latency(path: Path, x: np.ndarray, kernels: str = "xnnpack") -> Latency:
    """Measure how long one inference takes here, on one thread, without the copies in and out.

    Args:
        path: As ``predict`` takes it.
        x: Rows to run in turn, at least one; as ``predict`` takes them.
        kernels: One of ``fedkd.edge.interpreter.KERNELS``.

    Raises:
        InputError: As ``predict``, or there are no rows.
    """
    if not len(x):
        raise InputError("x must have at least 1 row to measure latency, got 0")
    interpreter, source, _, rows = _ready(path, x, kernels)
    seconds: list[float] = []
    for turn, row in enumerate(cycle(rows)):
        interpreter.set_tensor(source.tensor, row[np.newaxis])
        start = time.perf_counter()
        invoke(interpreter, path)
        if turn >= _WARM_UP:
            seconds.append(time.perf_counter() - start)
        if len(seconds) >= _MOST or (len(seconds) >= _FEWEST and sum(seconds) > _SECONDS):
            break
    return Latency(*(float(np.percentile(seconds, share)) * 1000 for share in (50, 95)))


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
    interpreter = opened(path)
    source, sink = ends(interpreter, path)
    dtypes = [np.dtype(tensor["dtype"]) for tensor in interpreter.get_tensor_details()]
    content = path.read_bytes()
    return DeviceModel(
        path=path.name,
        precision=_precision(dtypes, held_types(path), sink.dtype),
        flash_bytes=len(content),
        gzip_bytes=len(gzip.compress(content, compresslevel=9, mtime=0)),
        input_dtype=source.dtype.name,
        output_dtype=sink.dtype.name,
        float_tensors=sum(dtype.kind == "f" for dtype in dtypes),
        tensors=len(dtypes),
    )


def _ready(path: Path, x: np.ndarray, kernels: str) -> tuple[Any, End, End, np.ndarray]:
    """An interpreter that can run, its ends, and the rows as its input takes them."""
    interpreter = opened(path, kernels)
    source, sink = ends(interpreter, path)
    allocate(interpreter, path)
    rows = quantize(checked(x, source.shape, source.dtype), source.dtype, source.scale, source.zero_point)
    return interpreter, source, sink, rows


def _precision(dtypes: list[np.dtype], types: set[str], output: np.dtype) -> str:
    """Name the precision by the tensors a file holds."""
    if output in QUANTIZED:
        return "int8" if output == np.int8 else "int16x8"
    if "INT4" in types:
        return "int4"
    if np.dtype(np.float16) in dtypes:
        return "float16"
    return "dynamic" if np.dtype(np.int8) in dtypes else "float32"
