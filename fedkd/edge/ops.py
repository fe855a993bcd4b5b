"""Which operations a TFLite file is made of, and which runtimes have kernels for them."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from fedkd.edge.litert_internals import called_operators

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


class Op(NamedTuple):
    """An operation of a file.

    Args:
        name: As TFLite's schema has it, like CONV_2D; that of its maker for a custom one, like FlexErf.
        count: How often the file calls it.
        litert: Whether LiteRT has it by itself: it has none of TensorFlow's (Flex) or the makers' own.
        tflm: Whether TensorFlow Lite Micro has it, in some dtype.
    """

    name: str
    count: int  # type: ignore[assignment]  # of a tuple's own, which nobody needs here
    litert: bool
    tflm: bool


def ops(path: Path) -> tuple[Op, ...]:
    """List the operations of a TFLite file in the order of their first call.

    Args:
        path: A file that LiteRT has opened: one that is broken ends in any exception.
    """
    found = Counter(called_operators(path))
    return tuple(Op(name, count, builtin, builtin and name in MICRO_OPS) for (name, builtin), count in found.items())
