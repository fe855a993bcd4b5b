"""Laws of the list of a file's operations."""

import re

import pytest

from fedkd.edge.ops import ops
from fedkd.edge.runtimes import kernels_for
from fedkd.edge.tflm import MICRO_OPS
from tests.edge.flat import calling, codes, renamed

CODES = codes()
NO_OPS = {"CUSTOM", "DELEGATE", "PLACEHOLDER_FOR_GREATER_OP_CODES"}


def test_each_operation_is_listed_once_with_its_calls_in_the_order_of_the_first(tmp_path):
    path = tmp_path / "any.tflite"
    path.write_bytes(calling(*(CODES[name] for name in ("CONV_2D", "GELU", "CONV_2D", "ADD", "CONV_2D"))))
    found = [(op.name, op.count, *kernels_for(op).values()) for op in ops(path)]
    assert found == [("CONV_2D", 3, True, True), ("GELU", 1, True, False), ("ADD", 1, True, True)]


@pytest.mark.parametrize("maker", ["FlexErf", "TheirOwn"])
def test_an_operation_of_its_makers_is_in_neither_runtime(tmp_path, maker):
    plain = tmp_path / "plain.tflite"
    plain.write_bytes(calling(CODES["ADD"]))
    (op,) = ops(renamed(plain, tmp_path / "theirs.tflite", CODES["CUSTOM"], maker))
    assert (op.name, kernels_for(op)) == (maker, {"litert": False, "tflm": False})


def test_the_operations_of_microcontrollers_are_those_of_the_installed_runtime(capfd):
    """It looks operations up in order and names the first that it lacks: the one asked for, or one it never has."""
    runtime = pytest.importorskip("tflite_micro", reason="has wheels for Linux on x86-64 only").runtime
    found = set()
    for name in CODES.keys() - NO_OPS:
        with pytest.raises(RuntimeError):
            runtime.Interpreter.from_bytes(calling(CODES[name], CODES["HASHTABLE_SIZE"]), arena_size=1 << 16)
        missing = re.search(r"opcode '(\w+)'", capfd.readouterr().err)[1]
        found |= {name} if missing != name else set()
    assert found == MICRO_OPS
