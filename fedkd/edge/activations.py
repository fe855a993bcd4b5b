"""What each operation of a TFLite file computes on the way to its answer."""

from pathlib import Path

import numpy as np
from ai_edge_litert.tools.flatbuffer_utils import read_model

from fedkd.edge.interpreter import allocate, ends, invoke, opened
from fedkd.edge.steps import checked, dequantise, quantise


def activations(path: Path, x: np.ndarray) -> list[np.ndarray]:
    """Run a TFLite file over every row in LiteRT's reference kernels and return what each operation computed.

    Args:
        path: As ``fedkd.edge.runtime.predict`` takes it.
        x: Likewise.

    Returns:
        By operation, its first output, dequantised, float32 (n, numbers).

    Raises:
        InputError: As ``predict``.
    """
    interpreter = opened(path, "reference", keep=True)
    source, _ = ends(interpreter, path)
    allocate(interpreter, path)
    outputs = [operation.outputs[0] for operation in read_model(str(path)).subgraphs[0].operators]
    scales = {tensor["index"]: tensor["quantization"] for tensor in interpreter.get_tensor_details()}
    found: list[list[np.ndarray]] = [[] for _ in outputs]
    for row in quantise(checked(x, source.shape, source.dtype), source.dtype, source.scale, source.zero_point):
        interpreter.set_tensor(source.tensor, row[np.newaxis])
        invoke(interpreter, path)
        for output, rows in zip(outputs, found, strict=True):
            rows.append(dequantise(interpreter.get_tensor(output), *scales[output]).ravel())
    return [np.array(rows) for rows in found]
