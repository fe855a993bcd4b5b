"""Laws of models that are shared beside each other, and of stages: the teacher first, then students that it teaches."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from fedkd.base.errors import InputError
from fedkd.config.deciding import deciding, differing
from fedkd.config.settings import to_settings
from fedkd.models.first_layers import tensor_pairs
from fedkd.protocol.reference import Federation
from fedkd.protocol.resolve import resolve
from fedkd.protocol.stages import begins, rounds_of, stage_of, within_stage
from sims.cli import app
from sims.run import RunFolder, resume, run
from tests import tiny

BOTH = {"task": "tests.tiny:task", "clients": 3, "rounds": 4, "exchange.shared": "both"}
STAGES = {**BOTH, "train.teacher_share": 0.5, "model.student_init": "teacher_layers", "edge.finish_rounds": 1}
QUIET = Console(quiet=True)


def alike():
    """The task whose student is as wide as its teacher, so that it can have its layers."""
    return replace(tiny.task(), student=lambda: tiny.network(12))


def staged(**settings):
    experiment = resolve({**STAGES, "model.student_init": "random", **settings})
    config = replace(experiment.config, model=replace(experiment.config.model, student_init="teacher_layers"))
    return replace(experiment, config=config, task=replace(experiment.task, student=lambda: tiny.network(12)))


def same(a, b):
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_rounds_are_of_stages_each_with_a_schedule_of_its_own():
    config = resolve({**STAGES, "model.student_init": "random", "edge.qat": True, "edge.finish_rounds": 2}).config
    stages = [stage_of(config, round_) for round_ in range(1, 7)]
    assert stages == ["teacher", "teacher", "", "", "finishing", "finishing"]
    assert [round_ for round_ in range(1, 7) if begins(config, round_)] == [3, 5]
    assert [within_stage(config, round_) for round_ in (1, 2, 3, 4)] == [(1, 2), (2, 2), (1, 2), (2, 2)]


def test_the_teacher_is_trained_first_and_then_the_student():
    federation = Federation(experiment := staged())
    held = [experiment.parts(experiment.initial_shared())]
    for _ in range(5):
        federation.round([0, 1, 2])
        held.append(experiment.parts(federation.server.shared))
    moved = [{role: not same(a[role], b[role]) for role in a} for a, b in itertools.pairwise(held)]
    assert [each["teacher"] for each in moved] == [True, True, False, False, False]
    assert [each["student"] for each in moved] == [False, False, True, True, True]


def test_students_begin_with_the_first_layers_of_what_the_teacher_has_become():
    federation = Federation(experiment := staged())
    for _ in range(2):
        federation.round([0, 1, 2])
    federation.begin()
    parts = experiment.parts(federation.server.base)
    pairs = tensor_pairs(*(experiment.models[role] for role in ("teacher", "student")))
    assert len(pairs) == 5  # a convolution without bias, and a norm; the head is its own
    for theirs, own in pairs:
        np.testing.assert_array_equal(parts["teacher"][theirs], parts["student"][own])
    assert not same(parts["teacher"], experiment.parts(experiment.initial_shared())["teacher"])


@pytest.mark.parametrize(
    "more", [{}, *(pytest.param(each, marks=pytest.mark.slow) for each in ({"edge.qat": True}, {"edge.channels": 0.3}))]
)
def test_clients_that_miss_rounds_hold_the_servers_bits_in_every_stage(more):
    federation = Federation(staged(**more))
    for participants in ([0, 1], [1, 2], [1], [0, 1], [0, 1, 2]):
        federation.round(participants)
        for client in participants:
            assert same(federation.clients[client].base, federation.server.base)
    last = federation.now
    teacher = last.parts(federation.server.shared)["teacher"]
    assert last.quality(federation.server.shared)
    assert last.local().teacher(federation.clients[0]) is not None
    assert not any((array == 0).mean() > 0.4 for array in teacher if array.size > 50)  # only what ships is pruned


@pytest.mark.slow
def test_a_teacher_that_is_done_has_no_moments_and_keeps_its_statistics():
    federation = Federation(staged())
    for _ in range(3):
        federation.round([0, 1, 2])
    assert set(federation.clients[0].local) == {"student.moments", "projection", "projection.moments"}
    first = Federation(staged())
    first.round([0, 1, 2])
    assert set(first.clients[0].local) == {"teacher.moments", "projection"}


@pytest.mark.slow
def test_litert_goes_through_the_same_stages():
    """Without random layers, to the rounding of float32."""
    plain = replace(tiny.task(), teacher=lambda: network(8), student=lambda: network(4))
    ends = []
    for engine in ("tensorflow", "litert"):
        experiment = resolve(
            {**BOTH, "rounds": 2, "train.teacher_share": 0.5, "train.engine": engine, "train.epochs": 1}
        )
        federation = Federation(replace(experiment, task=plain))
        for _ in range(2):
            federation.round([0, 1, 2])
        ends.append(federation.server.shared)
    for ours, theirs in zip(*ends, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def network(width):
    import keras

    inputs = keras.Input((6, 6, 1))
    x = keras.layers.Dense(width, activation="tanh")(keras.layers.Flatten()(inputs))
    return keras.Model(inputs, {"logits": keras.layers.Dense(3)(x), "hidden": [x]})


class Crash(Exception):
    """Stands in for the end of a process."""


@pytest.mark.slow
def test_a_run_goes_on_in_either_stage_as_if_it_had_never_stopped(tmp_path, monkeypatch):
    settings = {**STAGES, "model.student_init": "random", "edge.precisions": "float32"}
    run(settings, "local", tmp_path / "whole", False, False, QUIET)
    real = RunFolder.append
    for last in (1, 2, 3):
        folder = tmp_path / str(last)

        def stops(self, row, last=last):
            real(self, row)
            if row.number == last + 1:
                raise Crash

        monkeypatch.setattr(RunFolder, "append", stops)
        with pytest.raises(Crash):
            run(settings, "local", folder, False, False, QUIET)
        monkeypatch.setattr(RunFolder, "append", real)
        if last == 1:
            told = CliRunner().invoke(app, ["export", str(folder), "--student", "--trust"])
            assert told.exit_code == 2
            assert "has no student yet: its first 2 rounds train the teacher alone" in " ".join(told.output.split())
        resume(folder, "local", QUIET, trust=True)
        shas = [json.loads((each / "summary.json").read_text()) for each in (tmp_path / "whole", folder)]
        assert shas[0]["shared_sha256"] == shas[1]["shared_sha256"]
        assert shas[0]["edge"] == shas[1]["edge"]
    rows = [json.loads(line) for line in (tmp_path / "whole" / "history.jsonl").read_text().splitlines()]
    assert [row["phase"] for row in rows] == ["teacher", "teacher", "train", "train", "finish"]
    assert rows[3]["teacher_mean"] == rows[1]["shared_accuracy"]  # the teacher is what it became in round 2


@pytest.mark.slow
def test_both_methods_run(tmp_path):
    few = {"task": "tests.tiny:task", "clients": 2, "rounds": 2, "edge.sparsity": 0.0, "edge.precisions": "none"}
    for method in ("fedkd_both", "fedkd_two_stage"):
        folder = run(
            {**few, "method": method, "partition.examples": 60}, "local", tmp_path / method, False, False, QUIET
        )
        found = json.loads((folder / "summary.json").read_text())
        assert found["shared"] == "both"
        assert found["quality"]["teacher_std"] == 0.0


def test_a_methods_stages_may_be_set_beside_it():
    given = {"task": "tests.tiny:task", "clients": 2, "rounds": 8, "partition.examples": 60}
    config = resolve(
        {**given, "method": "fedkd_two_stage", "train.teacher_share": 0.625, "train.unlabelled_ratio": 2}
    ).config
    assert config.teacher_rounds == 5


@pytest.mark.parametrize("none", ["none", ""])
def test_a_method_that_wants_examples_without_labels_can_be_told_there_are_none(none):
    """What is empty counts as not given in a Flower run, whose configuration the nodes get."""
    given = {"task": "tests.tiny:task", "clients": 2, "rounds": 2, "method": "fedkd_two_stage"}
    found = resolve({**given, "train.unlabelled": none})
    assert found.config.train.unlabelled == "none"
    assert found.task.train.unlabelled is None
    passed_on = {key: value for key, value in to_settings(found.config).items() if value != ""}
    assert resolve(passed_on).config == found.config
    assert "train.unlabelled" not in deciding(found.config)
    with pytest.raises(InputError, match=r"must be an \.npz file, nodes or none where"):
        resolve(given)


def test_a_longer_run_would_have_other_stages():
    short, long = (resolve({**BOTH, "rounds": rounds, "train.teacher_share": 0.5}).config for rounds in (4, 8))
    assert differing(deciding(short), deciding(long)) == ["train.teacher_share was '2 rounds', is '4 rounds'"]


@pytest.mark.parametrize(
    "settings, match",
    [
        ({"train.models": "student"}, r"exchange.shared must be a model that is trained \(student\), got 'both'"),
        ({"exchange.shared": "student", "train.teacher_share": 0.5}, "teacher_share must be 0 where exchange.shared"),
        ({"train.teacher_share": 0.1}, "teacher_share must be a share that leaves the teacher a round"),
        ({"train.teacher_share": 0.9, "rounds": 2}, "teacher_share must be a share that leaves"),
        ({"classes.zero.share": 0.5, "classes.zero.teacher": "none"}, "classes must be left out"),
    ],
)
def test_what_makes_no_stages_is_refused_in_one_line(settings, match):
    with pytest.raises(InputError, match=match) as caught:
        resolve({**BOTH, **settings})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"edge.sparsity": 0.0, "edge.channels": 0.3},
        {"exchange.shared": "both", "train.teacher_share": 0.5, "edge.qat": True},
        {"method": "fedlora"},
        {"method": "fedlora", "edge.sparsity": 0.0},
    ],
)
def test_each_round_is_of_the_stage_whose_rules_it_has(settings):
    experiment = resolve({"task": "tests.tiny:task", "clients": 2, "rounds": 4, "edge.finish_rounds": 2, **settings})
    rules = {
        rules.stage: rules for r in range(1, experiment.config.total_rounds + 1) for rules in [experiment.at(r, ())]
    }
    for round_ in range(1, experiment.config.total_rounds + 1):
        assert [round_ in rounds_of(each) for each in rules.values()].count(True) == 1
        assert round_ in rounds_of(experiment.at(round_, ()))
