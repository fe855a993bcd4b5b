"""Laws of finishing rounds: clients train the model that the device runs, and the server needs no data."""

import json
from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import layers
from rich.console import Console

from fedkd.base.errors import InputError
from fedkd.base.tensors import weighted_mean
from fedkd.compress.cost import cost
from fedkd.compress.fake_quant import ActivationRange
from fedkd.config.finish import parse_finish
from fedkd.edge.convert import Conversion
from fedkd.models.inspect import logits_model
from fedkd.protocol.finishing import check, unrounded
from fedkd.protocol.reference import Federation
from fedkd.protocol.resolve import resolve
from server.device_files import to_device
from sims.run import run
from tests import tiny
from tests.device.models import crasher
from tests.protocol.test_federation import Stepping, assert_identical

FINISH = {"edge.sparsity": 0.0, "edge.channels": 0.4, "edge.qat": True, "edge.finish_rounds": 2}
SETTINGS = {"task": "tests.protocol.test_finishing:task", "clients": 3, "rounds": 2, **FINISH}
DENSE = {"exchange.up": "dense", "exchange.down": "dense"}


def task():
    """The tiny task with a student that has channels to spare."""
    return replace(tiny.task(), name="finishing", student=lambda: tiny.network(10))


def normed():
    """Its student ends in a layer whose rounding can't be learned."""

    def network():
        inputs = keras.Input((6, 6, 1))
        x = layers.LayerNormalization()(layers.Dense(8)(layers.Flatten()(inputs)))
        return keras.Model(inputs, layers.Dense(3)(x))

    return replace(tiny.task(), name="normed", student=network)


def twice():
    """Its student calls a layer twice."""

    def network():
        inputs, relu = keras.Input((6, 6, 1)), layers.ReLU()
        x = relu(layers.Dense(8)(relu(layers.Dense(8)(layers.Flatten()(inputs)))))
        return keras.Model(inputs, layers.Dense(3)(x))

    return replace(tiny.task(), name="twice", student=network)


@pytest.fixture(scope="module")
def finished():
    """A federation at its end: in round 3, the first of finishing, client 1 isn't there and client 2 has lost all."""
    federation = Stepping(resolve(SETTINGS | DENSE))
    for number, participants in enumerate([[0, 1, 2], [0, 1, 2], [0, 2], [0, 1, 2]], 1):
        if number == 3:
            federation.clients[2] = Federation(federation.experiment).clients[2]
        federation.round(participants)
        for i in participants:
            assert_identical(federation.clients[i].base, federation.server.base)
        if number == 3:
            federation.first = federation.server, weighted_mean(federation.updates, federation.weights)
    return federation


def test_clients_go_on_with_their_own_model_and_change_the_shared_one(finished):
    before = Federation(finished.experiment).clients[0].local
    after, spec = (
        finished.clients[1].local,
        finished.experiment.at(4, finished.server.removed_channels).spec,
    )
    assert {group for group, arrays in after.items() if arrays} == {"teacher", "teacher.moments", "student.moments"}
    assert [a.shape for a in after["teacher"]] == [a.shape for a in before["teacher"]]
    assert [a.shape for a in finished.server.shared] == [item.shape for item in spec]
    assert sum(item.size for item in spec) < sum(item.size for item in finished.experiment.spec)


def test_clients_that_missed_the_change_follow_the_steps_through_it(finished):
    assert [step.round for step in finished.offers[1].steps] == [3, 4]
    assert not finished.offers[1].dense


def test_the_moments_of_the_own_model_go_on(finished):
    """Optimisers count their steps: client 0 took as many in each of four rounds, the smaller student in two."""
    moments = finished.clients[0].local
    teacher, student = (int(next(a for a in moments[f"{r}.moments"] if a.shape == ())) for r in ("teacher", "student"))
    assert teacher == 2 * student > 0


def test_multiplications_are_as_few_as_was_asked(finished):
    experiment = finished.experiment
    whole = cost(logits_model(experiment.shared_model))
    last = logits_model(experiment.at(4, finished.server.removed_channels).shared_model, finished.server.shared)
    left = cost(unrounded(experiment, finished.server.removed_channels, last))
    assert left.macs <= 0.6 * whole.macs
    assert left.parameters < whole.parameters


def test_ranges_of_activations_are_averaged_over_clients(finished):
    """Sent dense, the new range is the mean of the clients' ranges, by examples."""
    server, mean = finished.first
    model = finished.experiment.at(3, server.removed_channels).shared_model
    ends = [i for i, w in enumerate(model.weights) if w.name == "high"]
    assert len(ends) == sum(isinstance(layer, ActivationRange) for layer in model.layers) == 3
    for i in ends:
        assert server.base[i] == 0
        assert server.shared[i] == mean[i] > 0


@pytest.mark.slow
def test_int8_is_made_without_an_example_on_the_server(finished, tmp_path):
    experiment = replace(finished.experiment, config=precisions(finished.experiment, "float32 int8 int16x8"))
    assert len(experiment.calibration) == 0
    float32, int8, wide = to_device(experiment, finished.server, tmp_path)
    assert int8.float_tensors == 0
    assert int8.alike >= 0.98
    assert int8.interval[0] <= int8.deciding <= int8.interval[1]
    assert int8.macs == float32.macs
    assert wide.error.startswith("int16x8 takes its ranges from examples and there are none: give --calibration")
    unrounded_model = keras.saving.load_model(tmp_path / "student_finished.keras", compile=False)
    assert not any(isinstance(layer, ActivationRange) for layer in unrounded_model.layers)


def precisions(experiment, names):
    return replace(experiment.config, edge=replace(experiment.config.edge, precisions=names))


@pytest.mark.slow
def test_layers_that_cannot_learn_their_ranges_need_examples(tmp_path):
    settings = SETTINGS | {
        "task": "tests.protocol.test_finishing:normed",
        "edge.channels": 0.0,
        "edge.precisions": "int8",
    }
    settings["method"] = "fedavg_student"
    experiment = resolve({**settings, "rounds": 1, "edge.finish_rounds": 1})
    assert len(check(experiment)) == 1
    federation = Federation(experiment)
    federation.round([0])
    federation.round([0])
    np.savez(tmp_path / "rows.npz", x=task().train.x[:20])
    for file, works in (("", False), (str(tmp_path / "rows.npz"), True)):
        edge = replace(experiment.config.edge, calibration_file=file)
        given = replace(experiment, config=replace(experiment.config, edge=edge))
        (made,) = to_device(given, federation.server, tmp_path)
        assert (made.path is not None) == works, made
        assert works or "no recipe for LayerNormalization (1)" in made.error


@pytest.mark.slow
def test_models_whose_graph_is_not_followed_have_files_all_the_same(tmp_path):
    """A layer that is called twice can't be pruned or rounded, which this run doesn't ask for."""
    settings = {
        "task": "tests.protocol.test_finishing:twice",
        "method": "fedavg_student",
        "clients": 2,
        "rounds": 1,
        "edge.finish_rounds": 1,
    }
    experiment = resolve(settings | {"edge.precisions": "float32"})
    federation = Federation(experiment)
    federation.round([0])
    (made,) = to_device(experiment, federation.server, tmp_path)
    assert made.path
    assert made.macs is None


def test_a_file_that_takes_its_runtime_down_is_a_line_and_the_server_goes_on(finished, tmp_path, monkeypatch):
    def damaged(model, examples, folder, wanted, modules, rows, trust):
        assert rows is experiment.task.test.x
        path = folder / "student_float32.tflite"
        path.write_bytes(crasher())
        return [Conversion("float32", path, None)]

    monkeypatch.setattr("server.device_files.convert", damaged)
    experiment = replace(finished.experiment, config=precisions(finished.experiment, "float32"))
    (made,) = to_device(experiment, finished.server, tmp_path)
    assert made.path == "student_float32.tflite"
    assert made.error.startswith("student_float32.tflite can't run in LiteRT: it died of SIG"), made
    assert made.quality == {}


@pytest.mark.slow
def test_runs_repeat_their_bytes_whatever_the_threads(tmp_path):
    """Clients keep their state in a file of all, or in a file each."""
    ends = []
    for threads, each in ((1, True), (3, False)):
        settings = {**SETTINGS, "method": "fedavg_student", "threads": threads, "edge.precisions": "none"}
        folder = run(settings, "local", tmp_path / str(threads), False, each, Console(quiet=True))
        ends.append([json.loads(line)["shared_sha256"] for line in (folder / "history.jsonl").read_text().splitlines()])
        assert not list(folder.glob("clients.state*"))
    assert ends[0] == ends[1]


@pytest.mark.slow
def test_ray_ends_in_the_same_bytes(tmp_path):
    pytest.importorskip("ray")
    ends = []
    for engine in ("local", "ray"):
        settings = {**SETTINGS, "edge.precisions": "none"}
        folder = run(settings, engine, tmp_path / engine, False, False, Console(quiet=True))
        ends.append(json.loads((folder / "history.jsonl").read_text().splitlines()[-1])["shared_sha256"])
    assert ends[0] == ends[1]


@pytest.mark.slow
def test_power_sgd_begins_anew_with_the_other_model():
    federation = Federation(resolve({**SETTINGS, "method": "powersgd", "edge.channels": 0.0, "rounds": 1}))
    for _ in range(3):
        federation.round([0, 1])
    assert_identical(federation.clients[0].base, federation.server.base)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"edge.finish_rounds": 0}, r"edge.finish_rounds must be 1 or more, or .* \(--finish none\), got 0"),
        ({"edge.channels": 1.0}, "edge.channels must be in"),
        ({"method": "local", "edge.precisions": "none"}, "exchange.shared must be student, teacher or both"),
    ],
)
def test_settings_that_break_a_rule_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        resolve(SETTINGS | settings)


def test_a_model_without_channels_to_spare_is_refused_before_the_run(tmp_path):
    with pytest.raises(InputError, match="allow more of them"):
        run(SETTINGS | {"edge.channels": 0.95}, "local", tmp_path / "run", False, False, Console(quiet=True))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "x, rule",
    [
        (np.zeros((4, 6, 6, 2), np.float32), "x must hold examples of shape"),
        (np.zeros((0, 6, 6, 1), np.float32), "x must hold examples of shape"),
        (np.zeros((4, 6, 6, 1), np.uint8), "in float32, as the model takes them, got uint8"),
        (np.full((4, 6, 6, 1), np.nan), "finite, got NaN or infinity in row 0"),
    ],
)
def test_examples_of_another_kind_are_refused_before_the_run(x, rule, tmp_path):
    np.savez(tmp_path / "rows.npz", x=x)
    settings = {**SETTINGS, "edge.calibration_file": str(tmp_path / "rows.npz")}
    with pytest.raises(InputError, match=rule):
        run(settings, "local", tmp_path / "run", False, False, Console(quiet=True))
    assert not (tmp_path / "run").exists()


def test_finish_is_read_as_settings():
    off = {"edge.sparsity": 0.0, "edge.channels": 0.0, "edge.qat": False}
    assert parse_finish("none") == off
    assert parse_finish("Prune weights 62.5%,  QAT int8") == off | {"edge.sparsity": 0.625, "edge.qat": True}
    for wrong in ("", "prune 50%", "prune channels 100%", "qat int4", "qat int8, qat int8", "none, qat int8"):
        with pytest.raises(InputError, match="--finish"):
            parse_finish(wrong)
