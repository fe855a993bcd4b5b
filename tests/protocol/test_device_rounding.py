"""Laws of files whose kernels of 4 bits are rounded by what they read over examples."""

import keras
import numpy as np
import pytest

from fedkd.base.errors import InputError
from fedkd.compress.awq import awq
from fedkd.compress.gptq import gptq
from fedkd.compress.moments import moments
from fedkd.config.deciding import deciding
from fedkd.models.inspect import logits_model
from fedkd.protocol.calibration import without_examples
from fedkd.protocol.device_rounding import for_four_bits
from fedkd.protocol.finishing import check
from fedkd.protocol.reference import Federation
from fedkd.protocol.resolve import resolve
from server.device_files import to_device

WORDS = 60


def settings(path, **given):
    """Texts of three to six words, the others padding, whose class is that of their first."""
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 80), ("test", 40)):
        x = rng.integers(2, WORDS, (count, 6)).astype(np.int32)
        x[np.arange(6) >= rng.integers(3, 7, (count, 1))] = 0
        arrays |= {f"x_{part}": x, f"y_{part}": x[:, 0] % 2}
    arrays["x_test"][0, 0] = WORDS - 1
    np.savez(path, **arrays, classes=["a", "b"])
    narrow = {"model.student_width": 32, "model.teacher_width": 16, "edge.sparsity": 0.0, "edge.precisions": "int4"}
    return {"task": f"npz:{path}", "clients": 2, **narrow, **given}


@pytest.mark.parametrize(("rounding", "method"), [("gptq", gptq), pytest.param("awq", awq, marks=pytest.mark.slow)])
def test_kernels_are_rounded_by_the_servers_examples_without_their_padding(rounding, method, tmp_path):
    found = resolve(settings(tmp_path / "words.npz", **{"edge.rounding": rounding}))
    model, x = logits_model(found.shared_model), found.task.train.x[:30]
    expected = method(model, moments(model, x, x != 0))
    for now, then in zip(for_four_bits(found, model, x).get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(now, then)
    padded = method(model, moments(model, x)).get_weights()
    assert not all(map(np.array_equal, padded, expected.get_weights()))


def test_clients_sums_stand_for_their_examples(tmp_path):
    """Kernels of the sums of clients are those of the sums over all, but for a number that rounding tips over."""
    found = resolve(settings(tmp_path / "words.npz", **{"edge.rounding": "gptq"}))
    model, x = logits_model(found.shared_model), found.task.train.x
    whole = for_four_bits(found, model, x).get_weights()
    parts = for_four_bits(found, model, *(x[rows] for rows in np.array_split(np.arange(len(x)), 3))).get_weights()
    other = for_four_bits(found, model, x[:20]).get_weights()
    assert sum((a != b).sum() for a, b in zip(whole, parts, strict=True)) < 0.001 * model.count_params()
    assert sum((a != b).sum() for a, b in zip(whole, other, strict=True)) > 0.01 * model.count_params()


def test_the_nearest_leaves_the_model_as_it_is_and_changes_no_run(tmp_path):
    given = settings(tmp_path / "words.npz")
    found = resolve(given)
    model = logits_model(found.shared_model)
    assert for_four_bits(found, model, found.task.train.x) is model
    assert "edge.rounding" not in deciding(found.config)
    assert deciding(resolve({**given, "edge.rounding": "gptq"}).config)["edge.rounding"] == "gptq"


def test_a_model_whose_kernels_are_all_small_is_rounded_to_the_nearest(tmp_path):
    found = resolve(settings(tmp_path / "words.npz", **{"edge.rounding": "gptq"}))
    small = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4)])
    assert for_four_bits(found, small, found.task.train.x) is small


@pytest.mark.slow
def test_a_runs_file_is_that_of_the_rounded_model(tmp_path):
    made = {}
    for rounding in ("nearest", "gptq"):
        given = settings(tmp_path / "words.npz", **{"edge.rounding": rounding, "edge.precisions": "float32 int4"})
        found, out = resolve({**given, "method": "fedavg_student", "rounds": 1}), tmp_path / rounding
        federation = Federation(found)
        federation.round([0])
        out.mkdir()
        files = to_device(found, federation.server, out)
        assert [(file.precision, file.path, file.error) for file in files] == [
            ("float32", "student_float32.tflite", None),
            ("int4", "student_int4.tflite", None),
        ]
        made[rounding] = [(out / f"student_{precision}.tflite").read_bytes() for precision in ("float32", "int4")]
        assert (out / "student_int4.keras").is_file() == (rounding == "gptq")
    (float32, nearest), (same, chosen) = made.values()
    assert float32 == same
    assert nearest != chosen
    assert len(nearest) == len(chosen)


def test_without_examples_the_file_is_none_and_the_run_says_so(tmp_path):
    given = settings(tmp_path / "words.npz", **{"edge.rounding": "gptq", "edge.calibration": 0})
    found = resolve(given)
    why = (
        "int4 is rounded by gptq over examples and there are none: give --calibration FILE.npz; edge.rounding = nearest"
    )
    assert without_examples(found, {})["int4"].startswith(why)
    with pytest.raises(InputError, match="moments of at least 1 set of examples must be given, got none"):
        for_four_bits(found, logits_model(found.shared_model), found.task.train.x[:0])
    assert not without_examples(resolve({**given, "edge.rounding": "nearest"}), {})


def test_models_without_kernels_to_round_are_refused_before_a_run_begins():
    for rounding in ("gptq", "awq"):
        found = resolve({"task": "tests.tiny:task", "edge.precisions": "int4", "edge.rounding": rounding})
        with pytest.raises(InputError, match="must have a dense kernel of 1,024 numbers or more, got none"):
            check(found)


def test_other_roundings_are_refused_and_those_of_no_file():
    with pytest.raises(InputError, match=r"edge\.rounding must be one of nearest, gptq, awq, got 'up'"):
        resolve({"task": "tests.tiny:task", "edge.precisions": "int4", "edge.rounding": "up"})
    with pytest.raises(InputError, match=r"edge\.rounding must be nearest, or edge\.precisions must have int4"):
        resolve({"task": "tests.tiny:task", "edge.precisions": "float32", "edge.rounding": "gptq"})
    assert resolve({"task": "tests.tiny:task", "edge.precisions": "none", "edge.rounding": "gptq"})
