"""All that is used of what LiteRT and TensorFlow's converter keep private or call experimental.

They may change it in any release; ``pyproject.toml`` bounds TensorFlow by the releases in which it has been tried.
"""

from pathlib import Path
from typing import Any

from ai_edge_litert.interpreter import Interpreter, OpResolverType


def make_interpreter(path: Path, kernels: OpResolverType, keep: bool) -> Interpreter:
    """Make LiteRT's interpreter of a TFLite file, on one thread; raises whatever LiteRT does.

    Args:
        path: The file.
        kernels: Which kernels it takes.
        keep: Whether to keep what passes between operations, so that it can be read.
    """
    return Interpreter(
        str(path), num_threads=1, experimental_op_resolver_type=kernels, experimental_preserve_all_tensors=keep
    )


def called_operators(path: Path) -> list[tuple[str, bool]]:
    """List the operators that a TFLite file calls, in the order of its calls; raises anything on a broken file.

    Returns:
        Of each call the operator's name, and whether that is TFLite's schema's or, of a custom one, its maker's.
    """
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    called = [model.operatorCodes[op.opcodeIndex] for graph in model.subgraphs for op in graph.operators or ()]
    # Codes beyond 127 are in the new field alone; old files have the old one alone.
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in called]
    custom = schema.BuiltinOperator.CUSTOM
    return [
        (code.customCode.decode(errors="replace") if number == custom else names[number], number != custom)
        for code, number in zip(called, codes, strict=True)
    ]


def read_model(path: Path) -> Any:
    """Read a TFLite file into the objects of TFLite's schema; raises anything on a broken file."""
    from ai_edge_litert.tools.flatbuffer_utils import read_model as read

    return read(str(path))


def held_types(path: Path) -> set[str]:
    """The types of a TFLite file's tensors as TFLite's schema names them: LiteRT tells 4 bits as 8."""
    from ai_edge_litert import schema_py_generated

    names = {number: name for name, number in vars(schema_py_generated.TensorType).items() if name.isupper()}
    return {names[tensor.type] for graph in read_model(path).subgraphs for tensor in graph.tensors}


def unpacked(content: bytes) -> Any:
    """The objects of TFLite's schema of a file's bytes; raises anything on broken ones."""
    from ai_edge_litert.tools.flatbuffer_utils import read_model_from_bytearray

    return read_model_from_bytearray(bytearray(content))


def packed(model: Any) -> bytes:
    """The bytes of a file of objects of TFLite's schema, the same for the same objects."""
    from ai_edge_litert.tools.flatbuffer_utils import convert_object_to_bytearray

    return bytes(convert_object_to_bytearray(model))


def schema() -> Any:
    """The classes and numbers of TFLite's schema."""
    from ai_edge_litert import schema_py_generated

    return schema_py_generated


def scale_whole_tensors(converter: Any) -> None:
    """Have TensorFlow's converter give each kernel one scale, in the place of one per channel."""
    converter._experimental_disable_per_channel = True
