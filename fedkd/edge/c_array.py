"""A device file as C++ source, with all that a firmware of TensorFlow Lite Micro asks of it."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from string import Template

import numpy as np

from fedkd.base.affine import quantize
from fedkd.base.errors import InputError
from fedkd.base.work_folder import work_folder
from fedkd.edge.interpreter import End, ends, opened
from fedkd.edge.litert import REFERENCE
from fedkd.edge.ops import ops
from fedkd.edge.tflm import TFLM

_TYPES = {"float32": "float", "int8": "int8_t", "int16": "int16_t", "int32": "int32_t"}
_PER_LINE = 16
# How MicroMutableOpResolver spells what isn't plainly capitalised.
_SPELLED = {"2D": "2D", "CUMSUM": "CumSum", "LSTM": "LSTM", "MATMUL": "MatMul", "PADV2": "PadV2"}
# Kernels that are tuned for a chip keep scratch buffers in the arena, which the kernels here do not have.
_PADDING = 1024
_NONE: Mapping[str, Mapping[str, Sequence[float]]] = {}

_HEADER = Template("""\
// $name as source for TensorFlow Lite Micro. Made by fedkd; the file's SHA-256 is
// $digest.
#ifndef MODEL_DATA_H_
#define MODEL_DATA_H_

#include <stddef.h>
#include <stdint.h>

constexpr size_t kModelBytes = $bytes;
extern const unsigned char g_model_data[kModelBytes];  // aligned to 16 bytes

$arena

// real = (integer - zero point) * scale
constexpr float kInputScale = $input_scale;
constexpr int kInputZeroPoint = $input_zero;
constexpr size_t kInputSize = $input_size;  // of shape $input_shape
constexpr float kOutputScale = $output_scale;
constexpr int kOutputZeroPoint = $output_zero;
constexpr size_t kClassCount = $classes;
extern const char* const g_labels[kClassCount];
$declared
// A test example and what the model must answer to it, made in $made_in.
// Kernels tuned for a chip may differ from it by a step or two.
extern const $input_type g_golden_input[kInputSize];
extern const $output_type g_golden_output[kClassCount];

// The operations that the model calls, and no others:
//   static tflite::MicroMutableOpResolver<kOpCount> resolver;
//   if (!AddOps(resolver)) { ... }
constexpr unsigned int kOpCount = $op_count;
template <typename Resolver>
bool AddOps(Resolver& resolver) {
  return $ops;
}

#endif  // MODEL_DATA_H_
""")

_ARENA = Template("""\
// The least tensor arena that worked in TensorFlow Lite Micro on x86-64, with its plain kernels. A 32-bit chip needs
// less for its pointers, and kernels tuned for one (CMSIS-NN, ESP-NN) more for scratch buffers: start with the padding,
// then leave what interpreter.arena_used_bytes() asks for.
//   alignas(16) static uint8_t tensor_arena[kArenaBytes + kArenaPadding];
constexpr size_t kArenaBytes = $arena;
constexpr size_t kArenaPadding = $padding;""")

_NO_ARENA = """\
// The tensor arena wasn't measured: that takes TensorFlow Lite Micro (pip install 'fedkd[tflm]')."""

_SOURCE = Template("""\
#include "model_data.h"

alignas(16) const unsigned char g_model_data[kModelBytes] = {
$model
};

const char* const g_labels[kClassCount] = {
$labels
};

const $input_type g_golden_input[kInputSize] = {
$golden_input
};

const $output_type g_golden_output[kClassCount] = {
$golden_output
};
$defined""")


def write_c_array(
    path: Path,
    x_row: np.ndarray,
    out_dir: Path,
    arena: int | None,
    classes: Sequence[str],
    constants: Mapping[str, Mapping[str, Sequence[float]]] = _NONE,
) -> list[Path]:
    """Write ``model_data.h`` and ``model_data.cc`` for a firmware; the same bytes for the same arguments.

    Args:
        path: A TFLite file that TensorFlow Lite Micro can run.
        x_row: The golden input (*input_shape), as a row that ``fedkd.edge.runtime.predict`` takes.
        out_dir: Made if missing.
        arena: Bytes measured in TensorFlow Lite Micro; None where it couldn't be.
        classes: Names of the outputs, in order: classes, labels or targets.
        constants: Further arrays of floats by their names, below a line that says what they are for.

    Returns:
        The header and the source.

    Raises:
        InputError: The file can't run there, or `x_row` or `classes` don't fit it; nothing is written then.
    """
    source, sink = ends(opened(path), path)
    if len(classes) != np.prod(sink.shape[1:]):
        raise InputError(f"classes must name the {np.prod(sink.shape[1:])} outputs of {path}, got {len(classes)} names")
    outputs, made_in = _answer(path, x_row[np.newaxis])
    given, answered = (_raw(rows[0], end) for rows, end in ((x_row[np.newaxis], source), (outputs, sink)))
    content, calls = path.read_bytes(), _calls(path)
    words = {
        "name": _escaped(path.name),
        "digest": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "arena": _NO_ARENA if arena is None else _ARENA.substitute(arena=arena, padding=_PADDING),
        "made_in": made_in,
        "classes": len(classes),
        "op_count": len(calls),
        "ops": " &&\n         ".join(f"static_cast<int>(resolver.{call}()) == 0" for call in calls),
        "model": _rows([f"0x{byte:02x}" for byte in content]),
        "labels": "\n".join(f'    "{_escaped(label)}",' for label in classes),
        **_constants(constants),
        **_described("input", source, given),
        **_described("output", sink, answered),
    }
    return _write(out_dir, {"model_data.h": _HEADER.substitute(words), "model_data.cc": _SOURCE.substitute(words)})


def _answer(path: Path, x: np.ndarray) -> tuple[np.ndarray, str]:
    """A file's outputs, and the runtime they were made in."""
    if TFLM.installed():
        return TFLM.run(path, x).outputs, f"TensorFlow Lite Micro (tflite-micro {version('tflite_micro')})"
    return REFERENCE.run(path, x).outputs, f"LiteRT's reference kernels (ai-edge-litert {version('ai_edge_litert')})"


def _calls(path: Path) -> list[str]:
    """The resolver's methods that add the ops of a file, in alphabetical order."""
    found = ops(path)
    if lacking := ", ".join(op.name for op in found if TFLM.lacks(op)):
        raise InputError(f"{path} can't run in TensorFlow Lite Micro: it has no {lacking}, which the file calls")
    return sorted("Add" + "".join(_SPELLED.get(p, p.capitalize()) for p in op.name.split("_")) for op in found)


def _raw(row: np.ndarray, end: End) -> np.ndarray:
    """A row of real numbers as the device has it."""
    return quantize(row, end.dtype, end.scale, end.zero_point).ravel()


def _described(name: str, end: End, golden: np.ndarray) -> dict[str, object]:
    """What the templates say of an end of the file; floats are their own numbers, of scale 1."""
    values = [f"{value:.9e}f" if golden.dtype.kind == "f" else str(value) for value in golden.tolist()]
    return {
        f"{name}_type": _TYPES[end.dtype.name],
        f"{name}_scale": f"{end.scale or 1.0:.9e}f",
        f"{name}_zero": end.zero_point,
        f"{name}_size": golden.size,
        f"{name}_shape": " x ".join(map(str, end.shape)),
        f"golden_{name}": _rows(values),
    }


def _constants(constants: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, str]:
    """Declarations for the header and definitions for the source; empty texts where there are none."""
    declared, defined = "", ""
    for purpose, arrays in constants.items():
        declared += f"// {purpose}\n"
        for name, values in arrays.items():
            declared += f"extern const float {name}[{len(values)}];\n"
            numbers = _rows([f"{value:.9e}f" for value in values])
            defined += f"\nconst float {name}[{len(values)}] = {{\n{numbers}\n}};\n"
    return {"declared": declared, "defined": defined}


def _rows(values: Sequence[str]) -> str:
    """The inside of an array, some values a line."""
    lines = (", ".join(values[at : at + _PER_LINE]) for at in range(0, len(values), _PER_LINE))
    return "\n".join(f"    {line}," for line in lines)


def _escaped(text: str) -> str:
    """The inside of a C string literal: what isn't plain ASCII is octal, which ends after three digits."""
    plain = set(range(0x20, 0x7F)) - set(b'"\\?')
    return "".join(chr(byte) if byte in plain else f"\\{byte:03o}" for byte in text.encode())


def _write(out_dir: Path, texts: dict[str, str]) -> list[Path]:
    """Put all files in their places once all are written."""
    out_dir.mkdir(parents=True, exist_ok=True)
    with work_folder(out_dir, "c-array") as work:
        for name, text in texts.items():
            Path(work, name).write_text(text, encoding="ascii")
        for name in texts:
            os.replace(Path(work, name), out_dir / name)
    return [out_dir / name for name in texts]
