"""Which operations a TFLite file is made of."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple


class Op(NamedTuple):
    """An operation of a file.

    Args:
        name: As TFLite's schema has it, like CONV_2D; that of its maker for a custom one, like FlexErf.
        count: How often the file calls it.
        builtin: Whether it is one of TFLite's own, and none of TensorFlow's (Flex) or of its makers'.
    """

    name: str
    count: int  # type: ignore[assignment]  # of a tuple's own, which nobody needs here
    builtin: bool


def ops(path: Path) -> tuple[Op, ...]:
    """List the operations of a TFLite file in the order of their first call.

    Args:
        path: A file that LiteRT has opened: one that is broken ends in any exception.
    """
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    model = schema.ModelT.InitFromPackedBuf(path.read_bytes())
    called = [model.operatorCodes[op.opcodeIndex] for graph in model.subgraphs for op in graph.operators or ()]
    # Codes beyond 127 are in the new field alone; old files have the old one alone.
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in called]
    custom = schema.BuiltinOperator.CUSTOM
    found = Counter(
        (code.customCode.decode(errors="replace") if number == custom else names[number], number != custom)
        for code, number in zip(called, codes, strict=True)
    )
    return tuple(Op(name, count, builtin) for (name, builtin), count in found.items())
