"""Laws of a device file as C++ source."""

import json
import shutil
import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from fedkd.base.affine import dequantize
from fedkd.base.errors import InputError
from fedkd.edge.c_array import _calls, write_c_array
from fedkd.edge.interpreter import ends, opened
from fedkd.edge.runtime import predict
from fedkd.edge.tflm import TFLM, Micro
from tests.edge.flat import calling, codes, renamed
from tests.edge.test_runtime import TABLE, X, dense, write_tflite

CLASSES = ["walk", 'sit "still"', "für??/\n"]
# Prints the file, then one line of JSON with all else; its resolver counts what it is asked for.
MAIN = r"""
#include <cstdio>
#include "model_data.h"
struct Resolver {
  int calls = 0;
  int AddFullyConnected() { return ++calls == 1 ? 0 : 1; }
};
template <typename T>
void print(const char* name, const T* values, size_t count) {
  fprintf(stderr, ", \"%s\": [", name);
  for (size_t i = 0; i < count; ++i) fprintf(stderr, i ? ", %.9g" : "%.9g", static_cast<double>(values[i]));
  fprintf(stderr, "]");
}
int main() {
  fwrite(g_model_data, 1, kModelBytes, stdout);
  Resolver resolver;
  const bool added = AddOps(resolver);
  fprintf(stderr, "{\"aligned\": %d, \"added\": %d, \"calls\": %d, \"count\": %u, \"arena\": %zu",
          reinterpret_cast<size_t>(g_model_data) % 16 == 0, added, resolver.calls, kOpCount, kArenaBytes);
  const float scales[] = {kInputScale, kOutputScale};
  const int zeros[] = {kInputZeroPoint, kOutputZeroPoint};
  print("scales", scales, 2);
  print("zeros", zeros, 2);
  print("golden_input", g_golden_input, kInputSize);
  print("golden_output", g_golden_output, kClassCount);
  for (size_t i = 0; i < kClassCount; ++i) print("label", g_labels[i], __builtin_strlen(g_labels[i]) + 0);
  fprintf(stderr, "}\n");
  return 0;
}
"""


class Gather(keras.layers.Layer):
    """Looks up rows of ``TABLE``, without the SELECT of Keras' own that microcontrollers lack."""

    def call(self, ids):
        return tf.gather(TABLE, ids[:, 0])


def lookup():
    ids = keras.Input((1,), dtype="int32")
    return keras.Model(ids, Gather()(ids))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("files")
    return {
        "float32": write_tflite(dense(), out / "float32.tflite"),
        "int8": write_tflite(dense(), out / "int8.tflite", X),
        "ids": write_tflite(lookup(), out / "ids.tflite"),
    }


def compiled(folder):
    """What the compiler's program prints: the bytes, and the rest."""
    (folder / "main.cc").write_text(MAIN)
    warnings = ["-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run(["g++", *warnings, "main.cc", "model_data.cc", "-o", "main"], cwd=folder, check=True)
    done = subprocess.run([folder / "main"], capture_output=True, check=True)
    pairs = json.loads(done.stderr, object_pairs_hook=list)
    return done.stdout, dict(pairs), [bytes(int(c) % 256 for c in held).decode() for k, held in pairs if k == "label"]


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_a_compiled_array_is_the_file_and_all_that_goes_with_it(files, tmp_path, precision):
    path = files[precision]
    header, _ = write_c_array(path, X[0], tmp_path, 1234, CLASSES)
    assert f"made in {'TensorFlow Lite Micro' if TFLM.installed() else 'LiteRT'}" in header.read_text()
    content, said, labels = compiled(tmp_path)
    assert content == path.read_bytes()
    assert (said["aligned"], said["added"], said["calls"], said["count"], said["arena"]) == (1, 1, 1, 1, 1234)
    assert labels == CLASSES
    source, sink = ends(opened(path), path)
    golden = [np.array(said[key], source.dtype) for key in ("golden_input", "golden_output")]
    assert said["scales"] == pytest.approx([source.scale or 1, sink.scale or 1], rel=1e-8)
    assert said["zeros"] == [source.zero_point, sink.zero_point]
    # Half a step of an input in [-1, 1] as int8; other kernels may differ by a step of an output in [-3, 3].
    assert dequantize(golden[0], *said["scales"][:1], said["zeros"][0]) == pytest.approx(X[0], abs=1.01 / 255)
    answer = dequantize(golden[1], said["scales"][1], said["zeros"][1])
    assert answer == pytest.approx(predict(path, X[:1], "reference")[0], abs=6.1 / 255)


def test_ids_go_in_and_floats_come_out_as_they_are(files, tmp_path):
    write_c_array(files["ids"], np.array([3], np.int32), tmp_path, None, ["a", "b"])
    text = (tmp_path / "model_data.cc").read_text()
    assert "const int32_t g_golden_input[kInputSize] = {\n    3,\n};" in text
    assert "const float g_golden_output[kClassCount] = {\n    6.000000000e+00f, 7.000000000e+00f,\n};" in text


def test_the_same_arguments_give_the_same_bytes(files, tmp_path):
    texts = [
        [path.read_bytes() for path in write_c_array(files["int8"], X[0], tmp_path / name, 1234, CLASSES)]
        for name in ("one", "other")
    ]
    assert texts[0] == texts[1]


def test_without_the_microcontrollers_runtime_the_header_says_so_and_makes_up_no_arena(files, tmp_path, monkeypatch):
    monkeypatch.setattr(Micro, "installed", lambda _: False)
    header, _ = write_c_array(files["int8"], X[0], tmp_path, None, CLASSES)
    assert "made in LiteRT's reference kernels (ai-edge-litert " in header.read_text()
    assert "kArenaBytes" not in header.read_text()


@pytest.mark.parametrize(
    "op, method",
    [
        ("CONV_2D", "AddConv2D"),
        ("SPACE_TO_BATCH_ND", "AddSpaceToBatchNd"),
        ("BATCH_MATMUL", "AddBatchMatMul"),
        ("UNIDIRECTIONAL_SEQUENCE_LSTM", "AddUnidirectionalSequenceLSTM"),
        ("L2_POOL_2D", "AddL2Pool2D"),
        ("PADV2", "AddPadV2"),
        ("CUMSUM", "AddCumSum"),
        ("RELU6", "AddRelu6"),
    ],
)
def test_operations_are_spelled_as_the_resolver_does(tmp_path, op, method):
    path = tmp_path / "any.tflite"
    path.write_bytes(calling(codes()[op]))
    assert _calls(path) == [method]


@pytest.mark.parametrize("installed", [True, False])
def test_what_a_microcontroller_can_not_run_is_refused_and_nothing_written(files, tmp_path, monkeypatch, installed):
    there = installed and TFLM.installed()
    monkeypatch.setattr(Micro, "installed", lambda _: there)
    path, out = renamed(files["float32"], tmp_path / "gelu.tflite", codes()["GELU"]), tmp_path / "out"
    with pytest.raises(InputError, match=r"gelu\.tflite can't run in"):
        write_c_array(path, X[0], out, None, CLASSES)
    with pytest.raises(InputError, match=r"classes must name the 3 outputs of \S+, got 2 names"):
        write_c_array(files["int8"], X[0], out, None, CLASSES[:2])
    with pytest.raises(InputError, match=r"x must have shape \(n, 2\), got \(1, 1\)"):
        write_c_array(files["int8"], X[0, :1], out, None, CLASSES)
    assert not out.exists()
