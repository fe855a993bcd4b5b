"""What each operation of a TFLite file computes on the way to its answer, found out in a child process."""

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from fedkd.base.affine import checked, dequantize, quantize
from fedkd.edge.child import Child, answer_for, ending, last_message, rows_run
from fedkd.edge.interpreter import allocate, ends, invoke, opened
from fedkd.edge.litert_internals import read_model


def activations(path: Path, x: np.ndarray) -> list[np.ndarray]:
    """Run a TFLite file over every row in LiteRT's reference kernels and return what each operation computed.

    Args:
        path: As ``fedkd.edge.runtime.predict`` takes it.
        x: Likewise.

    Returns:
        By operation that computes numbers, its first output, dequantized, float32 (n, numbers).

    Raises:
        InputError: As ``predict``, or the file takes LiteRT down.
    """

    def cause(child: Child) -> str:
        return f"it {ending(child)} where all of its tensors are kept{last_message(child)}"

    with (
        rows_run("fedkd.edge.activations", path, x, runtime="LiteRT", cause=cause) as (work, _),
        np.load(work / "found.npz", allow_pickle=False) as found,
    ):
        return [found[name] for name in found.files]


def main(path: str, work: str) -> None:
    """In the child: run every row of ``x.npy`` and write ``found.npz``."""
    file, x = Path(path), np.load(Path(work, "x.npy"), allow_pickle=False)
    np.savez(Path(work, "found.npz"), *_computed(file, x))


def _computed(path: Path, x: np.ndarray) -> list[np.ndarray]:
    interpreter = opened(path, "reference", keep=True)
    source, _ = ends(interpreter, path)
    allocate(interpreter, path)
    scales = {tensor["index"]: tensor["quantization"] for tensor in interpreter.get_tensor_details()}
    outputs = _outputs(interpreter, path)
    found: list[list[np.ndarray]] = [[] for _ in outputs]
    for row in quantize(checked(x, source.shape, source.dtype), source.dtype, source.scale, source.zero_point):
        interpreter.set_tensor(source.tensor, row[np.newaxis])
        invoke(interpreter, path)
        for output, rows in zip(outputs, found, strict=True):
            rows.append(dequantize(interpreter.get_tensor(output), *scales[output]).ravel())
    return [np.array(rows) for rows in found]


def _outputs(interpreter: Interpreter, path: Path) -> list[int]:
    """First outputs that are numbers: some operations have none, and handles of variables can't be read."""
    numbers = {t["index"] for t in interpreter.get_tensor_details() if np.dtype(t["dtype"]).kind in "fiu"}
    operations = read_model(path).subgraphs[0].operators
    firsts = [int(operation.outputs[0]) for operation in operations if len(operation.outputs)]
    return [output for output in firsts if output in numbers]


if __name__ == "__main__":
    answer_for(main, *sys.argv[1:])
