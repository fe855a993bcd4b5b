"""Laws of the reference networks of MLPerf Tiny: nothing of them is out of reach of what makes models small."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter

from fedkd.compress.constraints import kernels
from fedkd.compress.cost import cost
from fedkd.compress.qat import learned_scales, skipped
from fedkd.compress.remove_channels import remove_channels
from fedkd.compress.structured import least_important
from fedkd.edge.c_array import write_c_array
from fedkd.edge.tflm import TFLM
from sims.bench.cli import TINY
from sims.bench.report import as_markdown
from sims.bench.tiny import CLUSTERS, HALF, WHOLE, Files, Variant, agreement, files, kernels_of, row, variants
from sims.bench.tiny_networks import NETWORKS, Examples, Network, examples
from sims.report.edge_words import MLPERF
from tests.compress.test_channels import zeroed

COMPILER = next(filter(shutil.which, ("g++", "clang++", "c++")), None)
PUBLISHED = {name: (flash, arena, macs) for name, flash, arena, macs, _ in MLPERF}
COLUMNS = (1, 2, 3, 4, 5, 6, 8, 10)  # all but gzip, values a kernel and agreement
EDGE = (Path(__file__).parents[2] / "docs/edge.md").read_text()
# Writes the file to standard output; fails unless every operation is added once, and none that isn't the network's.
MAIN = r"""
#include <cstdio>
#include "model_data.h"
struct Resolver {
  unsigned int calls = 0;
  int AddAdd() { return added(); }
  int AddAveragePool2D() { return added(); }
  int AddConv2D() { return added(); }
  int AddDepthwiseConv2D() { return added(); }
  int AddFullyConnected() { return added(); }
  int AddReshape() { return added(); }
  int AddSoftmax() { return added(); }
  int added() { ++calls; return 0; }
};
int main() {
  Resolver resolver;
  if (!AddOps(resolver) || resolver.calls != kOpCount || kArenaBytes == 0) return 1;
  return fwrite(g_model_data, 1, kModelBytes, stdout) == kModelBytes ? 0 : 2;
}
"""


class Made(NamedTuple):
    """A network's variants and files by the variant's name."""

    network: Network
    test: Examples
    variants: dict[str, Variant]
    files: dict[str, Files]

    def agreement(self, name):
        return agreement(self.variants[name], self.files[name], self.test)


@pytest.fixture(scope="module", params=TINY)
def made(request, tmp_path_factory):
    network, folder = NETWORKS[request.param], tmp_path_factory.mktemp(request.param)
    train, test = examples(network, np.random.default_rng(0))
    found = {variant.name: variant for variant in variants(network, train)}
    places = {name: folder / str(number) for number, name in enumerate(found)}
    return Made(network, test, found, {name: files(found[name], train, test, places[name]) for name in found})


def published(network):
    """Bytes of the file and of the arena, and multiplications, of the benchmark's own."""
    return PUBLISHED[network.title.split(",")[0]]


@pytest.mark.slow
@pytest.mark.parametrize("name", TINY)
def test_networks_are_the_published_ones_and_training_that_sees_int8_skips_nothing(name):
    """Their multiplications are those that the benchmark names, to three digits, and those in the docs."""
    model = NETWORKS[name].build()
    assert cost(model).macs == pytest.approx(published(NETWORKS[name])[2], rel=0.002)
    assert skipped(model) == {}
    assert f"| {NETWORKS[name].title} | {WHOLE} | {cost(model).parameters:,} | {cost(model).macs:,} |" in EDGE


def test_the_command_knows_all_networks_and_refuses_others_in_one_line():
    assert set(TINY) == set(NETWORKS)
    for wrong, rule in (
        (["--network", "resnet"], rf"--network must be one of {', '.join(TINY)}, got 'resnet'"),
        (["--markdown", "--json"], "--markdown and --json must not be given together; choose one"),
    ):
        command = [str(Path(sys.executable).with_name("fedkd")), "bench", "tiny", *wrong]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {rule}\n")


@pytest.mark.slow
@pytest.mark.parametrize("name", [WHOLE, HALF, CLUSTERS])
def test_the_int8_file_is_what_training_saw(made, name):
    """No layer was skipped, no float is left, each learned scale is in the file, and it answers as the model does.

    Kernels round some numbers to the neighbouring step, which MobileNet's 27 layers, trained little, pass on enlarged.
    """
    variant, found = made.variants[name], made.files[name]
    assert variant.skipped == {}
    assert found.measured.float_tensors == 0
    held = np.array([t["quantization"] for t in Interpreter(str(found.integers)).get_tensor_details()])
    for place, pair in learned_scales(variant.aware).items():
        assert np.abs(held - pair).max(1).min() < 1e-6, place
    assert made.agreement(name) >= 0.9  # 0.955 to 1, by the processor whose float kernels trained it
    assert all(quality(made, outputs) > 0.6 for outputs in found.measured.outputs.values())


def quality(made, outputs):
    """Share of right answers, or of the variance that a reconstruction explains."""
    if made.network.classes:
        return np.mean(outputs.argmax(1) == made.test.y)
    return 1 - np.mean((outputs - made.test.y) ** 2) / made.test.y.var()


@pytest.mark.slow
def test_half_of_the_multiplications_go_and_the_rest_equals_the_masked_model(made):
    whole = made.variants[WHOLE].plain
    assert cost(made.variants[HALF].plain).macs <= cost(whole).macs / 2
    removed = least_important(whole, 0.5)
    found, expected, before = (
        logits(model, made.test.x[:50]) for model in (remove_channels(whole, removed), zeroed(whole, removed), whole)
    )
    off, size = np.abs(found - expected).max(), np.ptp(expected)
    assert off <= 1e-4 * size
    assert np.abs(before - expected).max() > 0.01 * size


def logits(model, x):
    """Outputs before the softmax, which would hide what differs."""
    last, activation = model.layers[-1], model.layers[-1].activation
    last.activation = None
    found = np.asarray(model(x, training=False))
    last.activation = activation
    return found


@pytest.mark.slow
def test_clusters_are_kept_in_both_files(made):
    """16 values a kernel after training, in float32 and in int8; and the kernels are all there."""
    variant, found = made.variants[CLUSTERS], made.files[CLUSTERS]
    for path in (found.float32, found.integers):
        counts = [len(np.unique(kernel)) for kernel in kernels_of(path)]
        assert len(counts) == len(kernels(variant.aware))
        assert 8 < max(counts) <= 16


@pytest.mark.slow
@pytest.mark.skipif(not TFLM.installed(), reason="needs the extra tflm")
def test_files_and_arenas_are_as_large_as_the_benchmarks_own(made):
    flash, arena, _ = published(made.network)
    whole, half = made.files[WHOLE].measured, made.files[HALF].measured
    assert whole.flash_bytes == pytest.approx(flash, rel=0.1)
    assert whole.arena.total == pytest.approx(arena, rel=0.1)
    assert half.flash_bytes < 0.75 * whole.flash_bytes
    assert half.arena.total < whole.arena.total


@pytest.mark.slow
@pytest.mark.skipif(COMPILER is None or not TFLM.installed(), reason="needs a C++ compiler and the extra tflm")
@pytest.mark.parametrize("name", [WHOLE, HALF, CLUSTERS])
def test_the_c_array_compiles_and_is_the_file(made, name, tmp_path, reached):
    found = made.files[name]
    outputs = next(iter(found.measured.outputs.values())).shape[1]
    classes = [str(number) for number in range(outputs)]
    write_c_array(found.integers, made.test.x[0], tmp_path, found.measured.arena.total, classes)
    (tmp_path / "main.cc").write_text(MAIN)
    strict = ["-std=c++11", "-Wall", "-Wextra", "-Werror", "-pedantic"]
    subprocess.run([COMPILER, *strict, "main.cc", "model_data.cc", "-o", "main"], cwd=tmp_path, check=True)
    done = subprocess.run([tmp_path / "main"], capture_output=True, check=True)
    assert done.stdout == found.integers.read_bytes()
    said = subprocess.run([COMPILER, "--version"], capture_output=True, text=True, check=True).stdout
    reached("C++ compiler", said.splitlines()[0])


@pytest.mark.slow
@pytest.mark.skipif(not TFLM.installed(), reason="needs the extra tflm")
def test_the_table_of_the_docs_is_what_the_command_prints(made):
    """Of the whole network, in the columns that hardly depend on what training made of it."""
    variant, found = made.variants[WHOLE], made.files[WHOLE]
    line = as_markdown([row(made.network.title, variant, found, made.test)]).splitlines()[-1]
    shown = next(text for text in EDGE.splitlines() if text.startswith(f"| {made.network.title} | {WHOLE} |"))
    cells, expected = (re.split(r" *\| *", text) for text in (shown, line))
    for i in COLUMNS:
        numbers = [re.sub(",", "", each[i]) for each in (cells, expected)]
        if all(number.replace(".", "", 1).isdigit() for number in numbers):
            # Some tens of bytes of a file hang on what the weights came to, which is the machine's rounding.
            assert float(numbers[0]) == pytest.approx(float(numbers[1]), rel=1e-3)
        else:
            assert cells[i] == expected[i]
