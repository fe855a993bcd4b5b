"""Laws of measuring a device file in the runtimes of devices."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from fedkd.base.errors import InputError
from fedkd.edge import child
from fedkd.edge.interpreter import KERNELS, allocate, opened
from fedkd.edge.litert import run_lite
from fedkd.edge.measure import measure
from fedkd.edge.ops import Op
from fedkd.edge.runtime import describe, latency, predict
from fedkd.edge.tflm import TFLM, run_micro
from tests.edge.flat import codes, renamed
from tests.edge.test_runtime import KERNEL, X, dense, write_tflite

ALL, HERE = ("litert", "litert_reference", "tflm"), ("litert", "litert_reference")
needs_micro = pytest.mark.skipif(not TFLM.installed(), reason="has wheels for Linux on x86-64 only")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out, inputs = tmp_path_factory.mktemp("files"), keras.Input((2,))
    gelu = keras.Model(inputs, keras.layers.Dense(3, activation="gelu")(inputs))
    wide = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1000), keras.layers.Dense(1000)])
    return {
        "float": write_tflite(dense(), out / "float.tflite"),
        "int8": write_tflite(dense(), out / "int8.tflite", X),
        "gelu": write_tflite(gelu, out / "gelu.tflite"),
        "wide": write_tflite(wide, out / "wide.tflite"),
    }


@needs_micro
def test_every_runtime_gives_the_matrix_product(files):
    found = measure(files["float"], X, ALL)
    assert set(found.outputs) == {"litert", "litert_reference", "tflm"}
    for outputs in found.outputs.values():
        np.testing.assert_allclose(outputs, X @ KERNEL, atol=1e-6)
    assert found.errors == {}
    assert found.arena is not None
    assert found.arena.total == found.arena.head + found.arena.tail


def test_a_file_is_measured_as_it_is_described(files):
    found, said = measure(files["int8"], X[:5], HERE), describe(files["int8"])
    assert (found.path, found.precision, found.flash_bytes) == (files["int8"], "int8", said["flash_bytes"])
    assert (found.gzip_bytes, found.float_tensors, found.tensors) == (said["gzip_bytes"], 0, 3)
    assert found.ops == (Op("FULLY_CONNECTED", 1, True),)
    np.testing.assert_array_equal(found.outputs["litert"], predict(files["int8"], X[:5]))


def test_what_is_not_meant_for_microcontrollers_is_not_run_there(files):
    found = measure(files["float"], X[:2], HERE)
    assert (set(found.outputs), found.arena, found.errors) == ({"litert", "litert_reference"}, None, {})


@needs_micro
def test_a_runtime_that_lacks_an_operation_says_so_and_the_others_answer(files):
    found = measure(files["gelu"], X[:2], ALL)
    assert (set(found.outputs), found.arena) == ({"litert", "litert_reference"}, None)
    assert found.errors == {
        "tflm": f"{files['gelu']} can't run in TensorFlow Lite Micro: it has no GELU, which the file calls"
    }


@pytest.mark.parametrize("kernels, delegated", [("xnnpack", True), ("reference", False)])
def test_reference_kernels_leave_nothing_to_xnnpack(files, kernels, delegated):
    """LiteRT lists what it hands to XNNPACK as one more operation, of the name DELEGATE."""
    interpreter = opened(files["float"], kernels)
    allocate(interpreter, files["float"])
    assert ("DELEGATE" in {op["op_name"] for op in interpreter._get_ops_details()}) == delegated


def test_a_hundred_thousand_times_the_work_takes_longer(files):
    small, large = (latency(files[name], X) for name in ("float", "wide"))
    assert 0 < small.median <= small.p95
    assert large.median > 2 * small.median


def test_a_file_that_fails_in_the_first_runtime_asked_for_is_refused(files):
    with pytest.raises(InputError, match=r"can't run in TensorFlow Lite Micro|isn't installed"):
        measure(files["gelu"], X[:2], ["tflm", "litert"])
    with pytest.raises(InputError, match="runtime must be one of litert, litert_reference, tflm, pi4, got 'esp'"):
        measure(files["float"], X[:2], ["esp"])


def test_no_rows_and_unknown_kernels_are_refused(files):
    with pytest.raises(InputError, match="x must have at least 1 row to measure latency, got 0"):
        measure(files["float"], X[:0], HERE)
    with pytest.raises(InputError, match=f"kernels must be one of {', '.join(KERNELS)}, got 'fast'"):
        run_lite(files["float"], X, "fast")


def test_rows_of_another_shape_are_refused(files):
    with pytest.raises(InputError, match=r"^x must have shape \(n, 2\), got \(40, 1\)$"):
        measure(files["float"], X[:, :1], HERE)


@pytest.mark.parametrize("left", [0, 7, 600, -1])
def test_a_part_of_a_file_is_one_line(files, tmp_path, left):
    path = tmp_path / "part.tflite"
    path.write_bytes(files["int8"].read_bytes()[:left])
    with pytest.raises(InputError, match=r"part\.tflite must be a TFLite file, got [\d,]+ bytes that .*") as caught:
        measure(path, X, ALL)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_byte_that_is_turned_over_is_an_answer_or_a_line(files, tmp_path, share):
    content, path = bytearray(files["int8"].read_bytes()), tmp_path / "damaged.tflite"
    content[int(len(content) * share)] ^= 0xFF
    path.write_bytes(content)
    said = ""
    try:
        run_lite(path, X[:2])
    except InputError as error:
        said = str(error)
    assert not said or (said.startswith(str(path)) and "\n" not in said)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.tflite must be a TFLite file, got no file there"):
        measure(tmp_path / "none.tflite", X, ALL)


@pytest.mark.parametrize("maker", ["FlexErf", "TheirOwn"])
def test_an_operation_that_no_runtime_has_is_named(files, tmp_path, maker):
    path = renamed(files["float"], tmp_path / "theirs.tflite", codes()["CUSTOM"], maker)
    with pytest.raises(
        InputError, match=rf"theirs\.tflite can't run in LiteRT: it has no {maker}, which the file calls$"
    ):
        measure(path, X, ALL)
    if TFLM.installed():
        with pytest.raises(InputError, match=rf"can't run in TensorFlow Lite Micro: it has no {maker}"):
            run_micro(path, X)


def test_a_runtime_that_dies_is_one_line(files, monkeypatch):
    def dies(*_):
        code = "import os, sys; print('no memory\\n  frame', file=sys.stderr, flush=True); os.abort()"
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    monkeypatch.setattr(child, "run_module", dies)
    with pytest.raises(
        InputError, match=r"^\S+ can't run in LiteRT: it died of SIGABRT with xnnpack kernels; is .*: no memory$"
    ):
        measure(files["float"], X, HERE)
