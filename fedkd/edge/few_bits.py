"""Word tables and kernels of 4 bits in a file of floats, written into the file itself.

Activations stay floats. TFLite's kernels read such weights where they lie: a lookup turns the rows that it is asked for
to floats, dense layers round what comes in to 8 bits, row by row, and multiply integers. What has no kernels of 4 bits
gets 8.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from fedkd.base.errors import InputError
from fedkd.compress.grid import LEAST, rounded
from fedkd.edge.litert_internals import packed, schema, unpacked


class _Kind(NamedTuple):
    """How an operation reads a constant: as which input, with scales along which axis, of how many bits."""

    place: int
    axis: int
    bits: int


# Lookups are those that a gather becomes; of it LiteRT has no kernel for 4 bits.
_KINDS = {
    "EMBEDDING_LOOKUP": _Kind(1, 0, 4),
    "FULLY_CONNECTED": _Kind(1, 0, 4),
    "CONV_2D": _Kind(1, 0, 8),
    "DEPTHWISE_CONV_2D": _Kind(1, 3, 8),
}


def in_four_bits(content: bytes) -> bytes:
    """Return a file whose word tables and kernels of dense layers have 4 bits, those of convolutions 8.

    Args:
        content: A TFLite file of floats.

    Raises:
        InputError: It has neither a table nor a kernel that could have 4 bits.
    """
    model = unpacked(content)
    graph = _Graph(model)
    graph.look_up()
    found = list(graph.constants())
    if not any(bits == 4 for _, _, bits in found):
        raise InputError(
            f"neither a word table nor a dense kernel of {LEAST} numbers or more is there to have 4 bits; take dynamic"
        )
    for tensor, axis, bits in found:
        graph.round(tensor, axis, bits)
    graph.drop_unused()
    return packed(model)


class _Graph:
    """The one graph of a file, to be changed.

    Args:
        model: Objects of TFLite's schema.
    """

    def __init__(self, model: Any) -> None:
        self._schema, self._model, self._graph = schema(), model, model.subgraphs[0]
        codes = {code: name for name, code in vars(self._schema.BuiltinOperator).items() if not name.startswith("_")}
        self._codes = codes

    def _name(self, operation: Any) -> str:
        code = self._model.operatorCodes[operation.opcodeIndex]
        return self._codes[max(code.builtinCode, code.deprecatedBuiltinCode)]

    def _values(self, tensor: Any) -> np.ndarray | None:
        """Floats of a constant that is worth it; None of all else."""
        data = self._model.buffers[tensor.buffer].data
        if data is None or tensor.type != self._schema.TensorType.FLOAT32:
            return None
        values = np.frombuffer(bytes(data), "<f4").reshape(tensor.shape)
        return values if values.size >= LEAST else None

    def look_up(self) -> None:
        """Turn each gather of a row of a table by ids into a lookup, which takes the ids in a row."""
        made: list[Any] = []
        for operation in self._graph.operators:
            made += self._lookup(operation) if self._gathers_rows(operation) else [operation]
        self._graph.operators = made

    def _gathers_rows(self, operation: Any) -> bool:
        if self._name(operation) != "GATHER":
            return False
        table, ids = (self._graph.tensors[i] for i in operation.inputs)
        options, whole = operation.builtinOptions, self._schema.TensorType.INT32
        plain = options is None or not (options.axis or options.batchDims)
        values = self._values(table)
        return plain and ids.type == whole and values is not None and values.ndim == 2 and not values.shape[1] % 2

    def _lookup(self, operation: Any) -> Iterator[Any]:
        """The operations in a gather's place: ids in a row, their rows, and these in the shape of the ids."""
        (table, ids), (out,) = operation.inputs, operation.outputs
        tensors = self._graph.tensors
        count, width = int(np.prod(tensors[ids].shape)), int(tensors[table].shape[1])
        name = tensors[out].name.decode()
        row = self._tensor(f"{name}/ids", [count], tensors[ids].type)
        rows = self._tensor(f"{name}/rows", [count, width], tensors[out].type)
        yield self._reshape(ids, row, [count])
        yield self._operation("EMBEDDING_LOOKUP", [row, table], [rows])
        yield self._reshape(rows, out, [int(size) for size in tensors[out].shape])

    def _reshape(self, source: int, out: int, shape: list[int]) -> Any:
        name = self._graph.tensors[out].name.decode()
        data = np.array(shape, "<i4")
        wanted = self._tensor(f"{name}/shape", [len(shape)], self._schema.TensorType.INT32, data.tobytes())
        options = self._schema.ReshapeOptionsT()
        options.newShape = shape
        found = self._operation("RESHAPE", [source, wanted], [out])
        found.builtinOptionsType, found.builtinOptions = self._schema.BuiltinOptions.ReshapeOptions, options
        return found

    def _tensor(self, name: str, shape: list[int], kind: int, data: bytes | None = None) -> int:
        buffer, tensor = self._schema.BufferT(), self._schema.TensorT()
        buffer.data = None if data is None else np.frombuffer(data, np.uint8)
        self._model.buffers.append(buffer)
        tensor.name, tensor.shape, tensor.type = name.encode(), shape, kind
        tensor.buffer = len(self._model.buffers) - 1
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _operation(self, name: str, inputs: list[int], outputs: list[int]) -> Any:
        operation = self._schema.OperatorT()
        operation.opcodeIndex, operation.inputs, operation.outputs = self._code(name), inputs, outputs
        return operation

    def _code(self, name: str) -> int:
        """Index of an operation among the file's, which it is added to where it isn't there."""
        number = getattr(self._schema.BuiltinOperator, name)
        known = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in self._model.operatorCodes]
        if number in known:
            return known.index(number)
        code = self._schema.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, number, 1
        self._model.operatorCodes.append(code)
        return len(known)

    def constants(self) -> Iterator[tuple[int, int, int]]:
        """Constants that all that reads them can read as integers: their numbers, axes of their scales, and bits."""
        read: dict[int, set[tuple[int, int] | None]] = {}
        for operation in self._graph.operators:
            kind = _KINDS.get(self._name(operation))
            for place, tensor in enumerate(operation.inputs):
                fits = kind is not None and place == kind.place
                read.setdefault(tensor, set()).add((kind.axis, kind.bits) if kind and fits else None)
        for tensor, ways in read.items():
            (way, *others) = ways
            if tensor >= 0 and way and not others and self._values(self._graph.tensors[tensor]) is not None:
                yield tensor, *way

    def round(self, number: int, axis: int, bits: int) -> None:
        """Give a constant fewer bits, with a scale for each index of an axis."""
        tensor = self._graph.tensors[number]
        values = self._values(tensor)
        assert values is not None
        rows = np.moveaxis(values, axis, 0)
        whole, steps = rounded(rows.reshape(len(rows), -1), bits)
        whole = np.moveaxis(whole.reshape(rows.shape), 0, axis).ravel()
        kinds = self._schema.TensorType
        tensor.type = kinds.INT4 if bits == 4 else kinds.INT8
        quantization = self._schema.QuantizationParametersT()
        quantization.scale, quantization.quantizedDimension = steps, axis
        quantization.zeroPoint = np.zeros(len(steps), np.int64)
        tensor.quantization = quantization
        # Not the old buffer, which another tensor may have, too.
        buffer = self._schema.BufferT()
        buffer.data = _in_pairs(whole) if bits == 4 else whole.view(np.uint8)
        self._model.buffers.append(buffer)
        tensor.buffer = len(self._model.buffers) - 1

    def drop_unused(self) -> None:
        """Empty the buffers that nothing refers to any more."""
        used = {tensor.buffer for graph in self._model.subgraphs for tensor in graph.tensors}
        used |= {item.buffer for item in self._model.metadata or ()}
        for number, buffer in enumerate(self._model.buffers):
            if number not in used:
                buffer.data = None


def _in_pairs(whole: np.ndarray) -> np.ndarray:
    """Two numbers of 4 bits a byte, the first in its lower half."""
    even = np.append(whole, np.zeros(len(whole) % 2, np.int8)).view(np.uint8) & 0x0F
    return even[0::2] | (even[1::2] << 4)
