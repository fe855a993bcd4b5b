"""Laws of 4-bit files of a search in a run whose kernels are rounded by what they read over examples."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from fedkd.base.errors import InputError
from fedkd.compress.gptq import gptq
from fedkd.compress.moments import moments
from fedkd.edge.budget import Budget
from fedkd.edge.convert import convert
from fedkd.edge.runtime import predict
from fedkd.edge.search import Variant
from fedkd.models import transformer
from fedkd.models.inspect import logits_model
from fedkd.protocol.resolve import resolve
from sims.edge.candidate import Bench, Trained
from sims.edge.source import Source

IDS = np.random.default_rng(0).integers(1, 60, (40, 6)).astype(np.int32)


def model():
    keras.utils.set_random_seed(0)
    return logits_model(transformer.student(6, 60, 2, 32))


def files(folder, four_bits):
    folder.mkdir()
    bench = Bench(folder, "m", IDS, IDS, Budget(), SimpleNamespace(), 0.0, four_bits)
    return bench.convert(Trained(Variant(), model(), IDS, 0.0), IDS, ["int4", "float32"])


@pytest.mark.slow
def test_the_file_of_four_bits_alone_is_made_of_the_rounded_model(tmp_path):
    rounded = gptq(model(), moments(model(), IDS))
    rounded.save(tmp_path / "rounded.keras")
    (expected,) = convert(tmp_path / "rounded.keras", IDS, tmp_path, ["int4"])
    float32, int4 = sorted(files(tmp_path / "a", lambda _: rounded), key=lambda file: file.precision)
    assert int4.path.read_bytes() == expected.path.read_bytes()
    np.testing.assert_allclose(predict(float32.path, IDS), np.asarray(model()(IDS)), atol=1e-5)


@pytest.mark.slow
def test_where_it_cannot_be_rounded_the_other_files_are_made(tmp_path):
    def fails(_):
        raise InputError("a must be finite")

    float32, int4 = sorted(files(tmp_path / "a", fails), key=lambda file: file.precision)
    assert float32.path.is_file()
    assert (int4.path, int4.error) == (None, "a must be finite")


@pytest.mark.parametrize("aside", [pytest.param(8, marks=pytest.mark.slow), 0])
def test_a_search_rounds_by_the_servers_examples_or_by_its_clients_sums(aside, tmp_path):
    np.savez(
        tmp_path / "t.npz", x_train=IDS, y_train=IDS[:, 0] % 2, x_test=IDS, y_test=IDS[:, 0] % 2, classes=["a", "b"]
    )
    wanted = {"edge.rounding": "gptq", "edge.precisions": "none", "model.student_width": 32, "edge.calibration": aside}
    run = resolve({"task": f"npz:{tmp_path / 't.npz'}", "clients": 2, **wanted})
    rows = run.task.train.x[run.calibration]
    assert (len(rows) > 0) == (aside > 0)
    source = Source(Path("runs/a"), model(), run.task, rows, lambda _: None, experiment=run)
    shown = rows if aside else run.task.train.x
    expected = gptq(model(), moments(model(), shown)).get_weights()
    off = sum((a != b).sum() for a, b in zip(source.four_bits(model()).get_weights(), expected, strict=True))
    assert off < 0.001 * model().count_params()


def test_a_search_rounds_to_the_nearest_unless_a_run_says_otherwise():
    run = resolve({"task": "tests.tiny:task", "clients": 2})
    source = Source(Path("runs/a"), model(), run.task, IDS, lambda _: None)
    assert source.four_bits is None
    assert replace(source, experiment=run).four_bits is None
