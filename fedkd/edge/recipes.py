"""Files with kernels of 4 bits, and with other precisions layer by layer, made from a float32 file.

It takes ai-edge-quantizer (extra ``quantizer``), which runs in a child process. The gain is in bytes; whether a runtime
can run such a file, and how well, has to be measured there. Of kernels of 4 bits TensorFlow Lite Micro runs those of
convolutions on int8, and neither those of dense layers nor any on floats.
"""

import importlib.util
import json
import os
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fedkd.base.errors import InputError
from fedkd.base.work_folder import work_folder
from fedkd.edge.child import ending, last_message, run_module
from fedkd.edge.litert_internals import read_model

_WEIGHTS, _ACTIVATIONS = (4, 8), (8, 16, None)
_FLOATS = (0, 1)  # of TFLite's schema: float32, float16
_FOUR_BITS = ("CONV_2D", "FULLY_CONNECTED")  # the operations that have kernels for it; others of a rule take 8 bits


class Rule(NamedTuple):
    """What some layers of a file become.

    Args:
        match: Regular expression, searched in the names of an operation's output and constants; see ``names``.
        weights: Bits of their kernels, 4 or 8; 8 where an operation has no kernel for 4.
        activations: Bits of what they compute on, 8 or 16; None for floats, to which kernels are turned at run time.
    """

    match: str
    weights: int
    activations: int | None


# Later rules win. Kernels of 2 bits aren't offered: a scale a filter is too coarse for them.
RECIPES: Mapping[str, Sequence[Rule]] = {
    "int4": (Rule(".*", 4, None),),
    "w4a8": (Rule(".*", 4, 8),),
    "w4a8_convolutions": (Rule(".*", 8, 8), Rule("convolution", 4, 8)),
}


def apply_recipe(source: Path, rules: Sequence[Rule], calibration: np.ndarray, out: Path) -> dict[str, int]:
    """Write a file in which layers have the precisions of a recipe.

    ai-edge-quantizer passes over operations that it has no kernels for, without a word: a table of words, say, stays in
    floats where only weights are to be integers. So the file is looked into once it is written.

    Args:
        source: A float32 TFLite file of one input.
        rules: Of RECIPES, or one's own; a layer takes the last that matches, and stays float32 where none does.
        calibration: Rows (n, *input_shape) that show integers the range of every activation; unused for float ones.
        out: The file; it appears whole or not at all.

    Returns:
        By the names of kernels and tables that rules match and that are floats in the file all the same, their bytes.

    Raises:
        InputError: The extra ``quantizer`` isn't installed, a rule is none or matches nothing, there is no calibration
            for integer activations, the source is missing, or ai-edge-quantizer fails.
    """
    _check(source, rules, calibration)
    if importlib.util.find_spec("ai_edge_quantizer") is None:
        raise InputError("ai-edge-quantizer isn't installed: pip install 'fedkd[quantizer]'")
    out.parent.mkdir(parents=True, exist_ok=True)
    with work_folder(out.parent, "recipe") as work:
        np.save(Path(work, "calibration.npy"), calibration, allow_pickle=False)
        child = run_module("fedkd.edge.recipes", str(source), str(work), json.dumps(rules))
        if child.returncode:
            raise InputError(f"{source} can't be quantized by the recipe: it {ending(child)}{last_message(child)}")
        left = _in_floats(Path(work, "made.tflite"), source, rules)
        os.replace(Path(work, "made.tflite"), out)
    return left


def names(source: Path) -> list[str]:
    """Names that a rule's expression is searched in, one string for each operation of a file.

    Raises:
        InputError: It is missing or is no TFLite file.
    """
    return [" ".join(found) for _, found in _operations(source)]


def _check(source: Path, rules: Sequence[Rule], calibration: np.ndarray) -> None:
    """Raise InputError on what can be seen to be wrong without starting a child."""
    found = names(source)
    for rule in rules:
        if rule.weights not in _WEIGHTS or rule.activations not in _ACTIVATIONS:
            raise InputError(f"a rule must have weights of 4 or 8 bits and activations of 8, 16 or None, got {rule}")
        try:
            matches = any(re.search(rule.match, name) for name in found)
        except re.error as error:
            raise InputError(f"a rule's match must be a regular expression, got {rule.match!r}: {error}") from error
        if not matches:
            raise InputError(f"no operation of {source} matches {rule.match!r}; they are named {'; '.join(found)}")
        if rule.activations and not len(calibration):
            raise InputError(f"calibration must have at least 1 row for activations of {rule.activations} bits, got 0")


def _in_floats(made: Path, source: Path, rules: Sequence[Rule]) -> dict[str, int]:
    """Bytes of matrices, by their names, that are floats in a file though rules match what reads them."""
    meant = {
        name
        for _, found in _operations(source)
        if any(re.search(rule.match, text) for rule in rules for text in found)
        for name in found[1:]
    }
    model = read_model(made)
    held = {tensor.name.decode(): tensor for tensor in model.subgraphs[0].tensors if _is_matrix(tensor)}
    sizes = {name: model.buffers[tensor.buffer].data for name, tensor in held.items() if name in meant}
    return {name: len(data) for name, data in sizes.items() if data is not None}


def _is_matrix(tensor: Any) -> bool:
    """Whether a tensor is a kernel or a table by its shape, in floats: no bias, and no scale for each channel."""
    shape = [int(size) for size in tensor.shape] if tensor.shape is not None else []
    return tensor.type in _FLOATS and sum(size > 1 for size in shape) > 1


def _operations(source: Path) -> Iterator[tuple[str, list[str]]]:
    """Of each operation, the name of its output, and that with those of its constants."""
    if not source.is_file():
        raise InputError(f"{source} must be a TFLite file, got no file there")
    try:
        model = read_model(source)
    except Exception as error:  # it reads whatever the bytes say, so anything can come of it
        raise InputError(f"{source} must be a TFLite file: {type(error).__name__}") from error
    graph = model.subgraphs[0]
    for operation in graph.operators:
        out, *_ = (graph.tensors[i].name.decode() for i in operation.outputs)
        read = [graph.tensors[i] for i in operation.inputs if i >= 0]
        constants = [tensor.name.decode() for tensor in read if model.buffers[tensor.buffer].data is not None]
        yield out, [out, *constants]


# From here on: what runs in the child. Only this imports ai-edge-quantizer.


def main(source: str, work: str, recipe: str) -> None:
    """Write ``made.tflite`` beside ``calibration.npy``."""
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import Quantizer

    quantizer = Quantizer(source)
    for match, weights, bits in json.loads(recipe):
        _add(quantizer, match, weights, bits)
        # ai-edge-quantizer searches outputs alone, and the last layer's says nothing of the layer.
        for out, found in _operations(Path(source)):
            if any(re.search(match, name) for name in found) and not re.search(match, out):
                _add(quantizer, f"^{re.escape(out)};$", weights, bits)
    ranges = None
    if quantizer.need_calibration:
        (key, signature), *_ = Interpreter(source).get_signature_list().items()
        rows = np.load(Path(work, "calibration.npy"), allow_pickle=False)
        shown = {key: [{signature["inputs"][0]: row[np.newaxis]} for row in rows]}
        ranges = quantizer.calibrate(shown, num_threads=1)
    made = quantizer.quantize(ranges, enable_progress_report=False)
    Path(work, "made.tflite").write_bytes(made.quantized_model)


def _add(quantizer: Any, match: str, weights: int, bits: int | None) -> None:
    """Give operations the bits they can have: 8 to all, then 4 to those that have kernels for it."""
    for operation, width in [("*", 8), *((name, weights) for name in _FOUR_BITS if weights == 4)]:
        if bits is None:
            quantizer.add_weight_only_config(match, operation, width)
        else:
            quantizer.add_static_config(match, operation, bits, width)


if __name__ == "__main__":
    main(*sys.argv[1:])
