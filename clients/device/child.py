"""In a child process: a model over examples. A damaged file, or a signed one, can take its interpreter down.

Rows come as .npy on standard input; on standard output go, as .npz, dequantized logits and how long each row took.
"""

import io
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

_INTEGERS = (np.int8, np.int16)


def ends(interpreter: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The input and the output: index, shape, dtype and quantization.

    Raises:
        ValueError: There isn't one of each, or the batch isn't 1.
    """
    sources, sinks = interpreter.get_input_details(), interpreter.get_output_details()
    if len(sources) != 1 or len(sinks) != 1 or list(sources[0]["shape"][:1]) != [1]:
        raise ValueError(f"a model must have one input of batch 1 and one output, got {len(sources)} and {len(sinks)}")
    return sources[0], sinks[0]


def steps(x: np.ndarray, end: dict[str, Any]) -> np.ndarray:
    """Turn real numbers into what an input takes: x / scale + zero point, rounded and clipped, where it is integers."""
    if end["dtype"] not in _INTEGERS:
        return x.astype(end["dtype"])
    scale, zero = end["quantization"]
    held = np.iinfo(end["dtype"])
    return np.clip(np.round(x.astype(np.float32) / np.float32(scale)) + zero, held.min, held.max).astype(end["dtype"])


def real(values: np.ndarray, end: dict[str, Any]) -> np.ndarray:
    """Turn what an output gives into float32: (integer - zero point) * scale."""
    if end["dtype"] not in _INTEGERS:
        return values.astype(np.float32)
    scale, zero = end["quantization"]
    return (values.astype(np.float32) - zero) * np.float32(scale)


def run(path: Path, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Run every row on one thread; logits float32 (n, classes) and milliseconds float64 (n,).

    Raises:
        ValueError: It is no model of one input and one output, or the rows don't fit it.
        RuntimeError: LiteRT can't run it.
    """
    interpreter = Interpreter(str(path), num_threads=1)
    source, sink = ends(interpreter)
    interpreter.allocate_tensors()
    if x.ndim == 0 or x.shape[1:] != tuple(source["shape"][1:]):
        raise ValueError(f"the input must have shape (n, {', '.join(map(str, source['shape'][1:]))}), got {x.shape}")
    if x.dtype.kind not in "fiu" or not np.isfinite(x).all():
        raise ValueError(f"the input must hold finite numbers, got {x.dtype}")
    answers, spent = [], []
    for row in steps(x, source):
        interpreter.set_tensor(source["index"], row[np.newaxis])
        start = time.perf_counter()
        interpreter.invoke()
        spent.append((time.perf_counter() - start) * 1000)
        answers.append(real(interpreter.get_tensor(sink["index"])[0], sink))
    return np.array(answers, np.float32), np.array(spent)


def main() -> None:
    """Run the model named on the command line; a refusal is one line on standard error and code 2."""
    rows = np.load(io.BytesIO(sys.stdin.buffer.read()), allow_pickle=False)
    try:
        logits, spent = run(Path(sys.argv[1]), rows)
    except (ValueError, RuntimeError) as error:
        print(" ".join(str(error).split())[:300], file=sys.stderr)
        sys.exit(2)
    np.savez(sys.stdout.buffer, logits=logits, spent=spent)


if __name__ == "__main__":
    main()
