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
    from fedkd.edge.litert_internals import called_operators  # it imports LiteRT

    found = Counter(called_operators(path))
    return tuple(Op(name, count, builtin) for (name, builtin), count in found.items())
