"""What a TFLite file is made of, read in a child process, for a damaged file can take its process down."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fedkd.base.errors import InputError
from fedkd.edge.child import answer_for, ending, last_message, raise_refused, run_module
from fedkd.edge.ops import Op, ops

if TYPE_CHECKING:
    from fedkd.edge.runtime import DeviceModel


class Contents(NamedTuple):
    """What a file is, whatever it answers.

    Args:
        file: Sizes, dtypes and counts.
        ops: The operations that it calls.
        output_scale: Size of one step of its output, 0 where that is float.
        held: Lowest and highest number that its input holds, and a step; None where that isn't of int8 or int16.
    """

    file: "DeviceModel"
    ops: tuple[Op, ...]
    output_scale: float
    held: tuple[float, float, float] | None


def contents(path: Path) -> Contents:
    """Read a TFLite file of one input with batch 1 and one output.

    Raises:
        InputError: It is missing, is not TFLite, has other ends, or takes LiteRT down.
    """
    child = run_module("fedkd.edge.contents", str(path))
    raise_refused(child)
    if child.returncode:
        raise InputError(f"{path} can't be read: it {ending(child)}; is it damaged?{last_message(child)}")
    found = json.loads(child.stdout.splitlines()[-1])
    return Contents(found["file"], tuple(Op(*op) for op in found["ops"]), found["output_scale"], found["held"])


def main(path: str) -> None:
    """In the child: print a line of JSON."""
    from fedkd.base.affine import held
    from fedkd.edge.interpreter import ends, opened
    from fedkd.edge.runtime import describe

    file = Path(path)
    source, sink = ends(opened(file), file)
    range_ = held(source.dtype, float(source.scale), int(source.zero_point))
    print(json.dumps({"file": describe(file), "ops": ops(file), "output_scale": float(sink.scale), "held": range_}))


if __name__ == "__main__":
    answer_for(main, *sys.argv[1:])
