"""Laws of federations of low-rank adapters: what is sent and kept, and what the models that ship are."""

import io
import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from fedkd.base.errors import InputError
from fedkd.config.deciding import deciding
from fedkd.edge.ops import ops
from fedkd.exchange.codec import decode
from fedkd.models.adapters import adapters_of
from fedkd.models.inspect import get_weights, logits_model, whole_weights
from fedkd.protocol.building import built
from fedkd.protocol.reference import Federation
from fedkd.protocol.resolve import resolve
from sims.cli import app
from sims.edge.federated import by_clients
from sims.introduction import introduce
from sims.run import resume, run
from tests import tiny
from tests.pretrained_folder import INNER, LAYERS, WIDTH, write
from tests.test_encoder import texts

TINY = {"task": "tests.tiny:task", "clients": 3, "rounds": 2, "train.epochs": 1, "edge.finish_rounds": 2}
LORA = TINY | {"method": "fedlora", "edge.sparsity": 0.0}
QUIET = Console(quiet=True)
# Of a layer of the folder: four kernels of attention, two of the dense layers behind it; and A and B at rank 2.
FACTORS = 4 * 2 * (2 * WIDTH) + 2 * 2 * (WIDTH + INNER)
HEAD = 2 * WIDTH + 2


def federation(settings, rounds=((0, 1, 2), (0, 2), (0, 1, 2), (0, 1, 2))):
    found = Federation(resolve(settings))
    for participants in rounds:
        found.round(participants)
        for client in participants:
            assert same(found.clients[client].base, found.server.base)
    return found


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.fixture
def pretrained(tmp_path):
    """Settings of a pretrained encoder with adapters of rank 2 in its teacher."""
    return {
        "task": texts(tmp_path / "texts.npz"),
        "model.pretrained": str(write(tmp_path / "model")),
        "model.teacher_lora": 2,
        "clients": 2,
        "rounds": 2,
        "edge.precisions": "none",
    }


def test_what_crosses_the_network_is_the_adapters_and_the_head(pretrained):
    found = Federation(experiment := resolve(pretrained | {"method": "fedlora", "model.teacher_lora": 2}))
    found.round([0, 1])
    numbers = FACTORS * LAYERS + HEAD
    assert sum(tensor.size for tensor in decode(found.server.update, experiment.spec).tensors) == numbers
    assert 4 * numbers < len(found.server.update) < 4 * numbers + 500
    assert sum(array.size for array in found.clients[0].base) == numbers
    assert sum(array.size for array in found.clients[0].local["teacher.moments"]) == 2 * numbers + 1
    ffa = resolve(pretrained | {"method": "ffa_lora", "model.teacher_lora": 2})
    assert sum(item.size for item in ffa.spec) == 2 * (4 * WIDTH + INNER + WIDTH) * LAYERS + HEAD


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"method": "ffa_lora"},
        {"exchange.up": "svd", "exchange.down": "svd"},
        {"exchange.bits": 2, "exchange.feedback": True, "exchange.rounding": "nearest", "exchange.deflate": True},
        {"exchange.up": "topk", "exchange.down": "topk", "exchange.feedback": True},
        {"train.proximal": 0.1},
    ],
)
def test_all_sides_hold_the_same_bits_whatever_the_codec(more):
    """Client 1 misses a round. The same seed gives the same bytes."""
    ends = [federation(LORA | {"rounds": 4} | more).server for _ in range(2)]
    assert same(ends[0].shared, ends[1].shared)
    assert ends[0].update == ends[1].update
    before = resolve(LORA | more).initial_shared()
    assert all(not np.array_equal(a, b) for a, b in zip(ends[0].shared, before, strict=True))


@pytest.mark.parametrize("models", [("teacher",), ("student",), ("teacher", "student")])
def test_models_teach_each_other_with_adapters_in_either(models):
    found = federation(TINY | {f"model.{role}_lora": 2 for role in models} | {"rounds": 4, "method": "fedkd_plus"})
    local = found.clients[0].local["teacher"]
    kinds = {role: resolve(TINY | {f"model.{role}_lora": 2}).spec for role in models}
    assert [array.shape for array in found.server.shared] == [
        item.shape for item in (kinds["student"] if "student" in models else resolve(TINY).spec)
    ]
    assert any(array.shape == (2, 12) for array in local) == ("teacher" in models)


def test_the_shared_model_is_measured_with_its_adapters():
    found = federation(LORA)
    experiment = found.experiment
    copy = logits_model(experiment.shared_model, found.server.shared)
    test = experiment.task.test
    ours = experiment.local().trainer.logits("teacher", found.server.shared, test.x)
    np.testing.assert_allclose(ours, copy(test.x), rtol=0, atol=1e-5)
    plain = logits_model(built(experiment, "teacher"))
    assert np.abs(ours - plain(test.x)).max() > 0.01


@pytest.mark.slow
@pytest.mark.parametrize("finish", [{"edge.sparsity": 0.5}, {"edge.qat": True}, {"edge.channels": 0.3}])
def test_finishing_rounds_train_the_model_that_ships(finish):
    """In it the adapters are in the kernels, which can be pruned, thinned and rounded then."""
    found = federation(LORA | {"model.teacher_lora": 4} | finish, [(0, 1, 2), (1, 2), (2,), (0, 1)])
    last = found.now
    assert adapters_of(found.experiment.shared_model)
    assert not adapters_of(last.shared_model)
    assert {len(item.shape) for item in last.spec} >= {4, 2, 1}
    if "edge.sparsity" in finish:
        kernel = next(array for array in found.server.base if array.ndim == 4)
        assert (kernel == 0).mean() > 0.4


def test_finishing_rounds_begin_with_the_sums():
    found = Federation(resolve(LORA | {"edge.sparsity": 0.1}))
    for _ in range(2):
        found.round([0, 1, 2])
    before = whole_weights(found.experiment.shared_model, found.server.shared)
    found.begin()
    for ours, theirs in zip(whole_weights(found.now.shared_model, found.server.shared), before, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_finishing_rounds_of_adapters_are_a_stage_on_all_sides():
    """Their model lacks what made them one: directions begin anew, clients keep what they learn, rates fall."""
    directions = {"exchange.up": "powersgd", "exchange.rank": 1, "exchange.feedback": True}
    found = federation(LORA | directions | {"edge.sparsity": 0.5, "train.decay": 0.5})
    last, whole = found.experiment.at(4, ()), found.experiment.client_data(0)[0]
    steps = [array for array in found.clients[0].local["teacher.moments"] if array.dtype.kind == "i"]
    assert [int(count) for count in steps] == [2 * last.local(0).trainer.steps_of(len(whole))]
    assert [last.rate(round_) for round_ in (3, 4)] == [1.0, 0.5]


@pytest.mark.slow
def test_students_begin_with_the_layers_of_a_teacher_that_was_trained_by_adapters(pretrained):
    settings = pretrained | {"method": "fedkd_two_stage", "train.unlabelled": "none", "rounds": 2}
    found = Federation(experiment := resolve(settings))
    found.round([0, 1])
    teacher = experiment.parts(found.server.shared)["teacher"]
    assert sum(array.size for array in teacher) == FACTORS * LAYERS + HEAD
    found.begin()
    whole, trained = experiment.build("student"), experiment.parts(found.server.base)["student"]
    merged, student = logits_model(experiment.models["teacher"], teacher), logits_model(whole, trained)
    for name in ("layer0_attention", "layer1_dense0"):
        initial = whole.get_layer(name).get_weights()[0]
        ours, theirs = (model.get_layer(name).get_weights()[0] for model in (student, merged))
        np.testing.assert_array_equal(ours, theirs)
        assert not np.array_equal(ours, initial)


@pytest.mark.slow
def test_litert_trains_adapters_as_tensorflow_does():
    """Kernels of two, three and four axes; without random layers, to the rounding of float32."""

    def network():
        inputs = keras.Input((6, 6, 1))
        x = keras.layers.Reshape((16, 4))(keras.layers.Conv2D(4, 3, activation="tanh")(inputs))
        x = keras.layers.Flatten()(keras.layers.MultiHeadAttention(2, 3)(x, x))
        return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Dense(8, activation="tanh")(x)))

    ends = []
    for engine in ("tensorflow", "litert"):
        experiment = resolve(LORA | {"train.engine": engine, "model.teacher_lora": 2, "train.optimizer": "sgd"})
        found = Federation(replace(experiment, task=replace(tiny.task(), teacher=network)))
        for _ in range(2):
            found.round([0, 1])
        ends.append(found.server.shared)
    for ours, theirs in zip(*ends, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_a_device_file_has_no_trace_of_adapters(tmp_path):
    """No product more than the layers have, and the answers of the model as it was trained."""
    run(LORA | {"edge.precisions": "float32", "rounds": 1}, "local", tmp_path / "run", False, False, QUIET)
    (file,) = json.loads((tmp_path / "run" / "summary.json").read_text())["edge"]
    assert file["agreement"] == {"litert": 1.0}
    found = {op.name: op.count for op in ops(tmp_path / "run" / "student_float32.tflite")}
    assert found == {"CONV_2D": 1, "MAX_POOL_2D": 1, "RESHAPE": 1, "FULLY_CONNECTED": 1}
    held = keras.saving.load_model(tmp_path / "run" / "student.keras")
    assert [weight.shape for weight in held.weights] == [weight.shape for weight in tiny.network(12).weights]


@pytest.mark.slow
def test_a_run_that_was_cut_off_ends_in_the_same_bytes(tmp_path, monkeypatch):
    settings = LORA | {"method": "ffa_lora", "exchange.bits": 4, "exchange.feedback": True, "edge.precisions": "none"}
    whole = run(settings | {"rounds": 3}, "local", tmp_path / "whole", False, False, QUIET)
    run(settings, "local", tmp_path / "run", False, True, QUIET)
    resume(tmp_path / "run", "local", QUIET, trust=True, rounds=3)
    models = [keras.saving.load_model(folder / "student.keras").get_weights() for folder in (whole, tmp_path / "run")]
    assert same(*models)


def test_pretraining_and_the_search_of_small_models_know_no_adapters(tmp_path):
    experiment = resolve(LORA | {"clients": 2})
    assert not adapters_of(built(experiment, "teacher"))
    model = logits_model(experiment.shared_model)
    before = get_weights(model)
    by_clients(experiment, 0, rounds=1)(model)
    assert not same(get_weights(model), before)


def test_a_run_says_how_much_is_trained_and_warns_of_kernels_that_are_random():
    digits = {"clients": 2, "rounds": 2, "method": "fedlora", "model.teacher_width": 4, "partition.examples": 100}
    said = {}
    for name, settings in (("own", LORA), ("digits", {**digits, "model.teacher_lora": 2})):
        experiment, console = resolve(settings), Console(file=io.StringIO(), width=300)
        introduce(experiment, console)
        said[name] = console.file.getvalue()
        numbers = sum(item.size for item in experiment.spec)
        rank = experiment.config.model.teacher_lora
        assert f"adapters of rank {rank} in the teacher: {numbers:,} numbers are trained" in said[name]
    assert "the teacher's kernels stay as the seed drew them" in said["digits"]
    assert "seed drew" not in said["own"]  # whose builder may have taken them from anywhere


def test_bytes_are_compared_with_plain_averaging_of_the_model_without_adapters():
    with_, without = (resolve(LORA | {"model.teacher_lora": rank}) for rank in (2, 0))
    assert with_.moving_parameters == without.moving_parameters
    assert with_.parameters == without.parameters
    assert sum(item.size for item in with_.spec) < sum(item.size for item in without.spec)


def test_a_setting_may_ask_for_what_the_method_has():
    assert resolve(LORA | {"model.lora_freeze_a": True}).config.model.lora_rank("teacher") == 8


def test_settings_that_ask_for_nothing_decide_nothing():
    assert not [key for key in deciding(resolve(TINY).config) if "lora" in key]
    assert deciding(resolve(LORA).config)["model.teacher_lora"] == 8


@pytest.mark.parametrize(
    "settings, words",
    [
        (["model.student_lora=-1"], "model.student_lora must be 0 (no adapters), or their rank, 1 or more, got -1"),
        (["model.student_lora=10"], "model.student_lora must be at most 4, the smaller side of conv2d"),
        (["model.student_lora=1.5"], "model.student_lora must be a whole number, got 1.5"),
        (["model.student_lora=2", "model.lora_alpha=0"], "model.lora_alpha must be above 0, got 0"),
        (["model.lora_freeze_a=true"], "model.lora_freeze_a must be false without adapters"),
        (["method=fedavg_student", "model.teacher_lora=2"], "model.teacher_lora must be 0 where no teacher is trained"),
        (["method=fedlora", "model.student_lora=2"], "model.student_lora must be 0 where no student is trained"),
        (["method=fedlora", "exchange.units=0.5"], "exchange.units must be 1 with the teacher"),
    ],
)
def test_what_cannot_be_adapted_is_refused_in_one_line(settings, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    flags = [flag for setting in settings for flag in ("--set", setting)]
    result = CliRunner().invoke(app, ["run", "--task", "tests.tiny:task", "--clients", "2", *flags])
    assert result.exit_code == 2
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_student_that_takes_over_trained_layers_has_no_adapters(pretrained):
    stages = {"method": "fedkd_two_stage", "train.unlabelled": "none", "model.student_lora": 2}
    with pytest.raises(InputError, match=r"model.student_lora must be 0 with train.teacher_share where the student"):
        resolve(pretrained | stages)
