"""Laws of federations whose clients are of several classes of devices."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from rich.console import Console

import fedkd
from clients.node.state_file import pooled_path
from clients.node.state_folder import StateFolder, owner_of
from fedkd.litert.opened import Opened
from fedkd.models.inspect import parameters
from fedkd.protocol.local import content_of
from fedkd.protocol.messages import Answer, answer_fields, read_answer
from fedkd.protocol.node_experiment import about
from fedkd.protocol.reference import Federation
from fedkd.protocol.resolve import resolve
from fedkd.protocol.state import ClientState
from sims.export import write_model
from sims.run import resume, run
from tests import tiny

QUIET = Console(quiet=True)
SETTINGS = {"clients": 4, "rounds": 2, "train.epochs": 1, "edge.sparsity": 0, "edge.precisions": "none"}
ZERO = {"classes.zero.clients": "1 3", "classes.zero.teacher": "none"}


def experiment_of(**settings):
    return resolve({"task": "object:tiny", **SETTINGS, **settings}, lambda *_: tiny.task())


def trained(threads=1, rounds=1, **settings):
    federation = Federation(experiment_of(**settings), threads=threads)
    for _ in range(rounds):
        federation.round(range(4))
    return federation


def same(ours, theirs):
    return all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def small():
    return tiny.network(6)


def test_a_class_that_sets_nothing_changes_nothing_but_its_name():
    plain, named = trained(), trained(**{"classes.same.share": 0.5})
    assert sorted(map(named.experiment.kind, range(4))) == ["", "", "same", "same"]
    assert same(plain.server.shared, named.server.shared)
    for client in range(4):
        for group, arrays in plain.clients[client].local.items():
            assert same(arrays, named.clients[client].local[group])


def test_clients_without_teachers_learn_as_where_nobody_has_one():
    alone = trained(**{"train.models": "student"})
    named = trained(**{"classes.zero.share": 1.0, "classes.zero.teacher": "none"})
    assert same(alone.server.shared, named.server.shared)
    assert set(named.clients[0].local) == set(alone.clients[0].local)


def test_those_beside_them_train_as_ever_and_all_share_the_student():
    plain, mixed = trained(), trained(**ZERO)
    assert same(plain.clients[0].local["teacher"], mixed.clients[0].local["teacher"])
    assert not [group for group, arrays in mixed.clients[1].local.items() if arrays and group != "student.moments"]
    assert not same(plain.server.shared, mixed.server.shared)
    assert mixed.experiment.local(1).teacher_quality(None, tiny.examples(3, 0)) == {}


@pytest.mark.slow
def test_threads_change_no_bit_of_a_federation_of_classes():
    settings = ZERO | {"classes.small.clients": "2", "classes.small.teacher": "tests.test_device_classes:small"}
    one, two = (trained(threads, 2, **settings) for threads in (1, 2))
    assert same(one.server.shared, two.server.shared)
    assert len(one.experiment.locals()) == 3


def test_clients_without_teachers_go_into_the_finishing_rounds():
    federation = Federation(experiment_of(**ZERO, **{"rounds": 1, "edge.qat": True, "edge.finish_rounds": 1}))
    for _ in range(2):
        federation.round(range(4))
    assert "teacher" in federation.clients[0].local
    assert "teacher" not in federation.clients[1].local
    assert np.isfinite(federation.server.shared[0]).all()


@pytest.mark.slow
def test_the_engine_of_a_class_is_that_of_its_clients_alone():
    lite = trained(**{"train.engine": "litert"})
    mixed = trained(**{"classes.lite.clients": "1 3", "classes.lite.engine": "litert"})
    plain = trained()
    for client, like in enumerate((plain, lite, plain, lite)):
        for group, arrays in like.clients[client].local.items():
            assert same(arrays, mixed.clients[client].local[group]), (client, group)


@pytest.mark.slow
def test_a_class_trains_for_epochs_and_in_batches_of_its_own():
    mixed = trained(**{"classes.slow.clients": "1", "classes.slow.epochs": 2, "classes.slow.batch_size": 4})
    all_so = trained(**{"train.epochs": 2, "train.batch_size": 4})
    assert same(mixed.clients[1].local["teacher"], all_so.clients[1].local["teacher"])
    assert not same(mixed.clients[0].local["teacher"], all_so.clients[0].local["teacher"])


def test_a_built_in_teacher_has_the_width_of_its_class():
    mixed = resolve({"clients": 4, "classes.small.clients": "2", "classes.small.teacher_width": 8})
    narrow = resolve({"clients": 4, "model.teacher_width": 8})
    assert same(mixed.local(2).initial_state()["teacher"], narrow.local(2).initial_state()["teacher"])
    sizes = [sum(w.size for w in mixed.local(i).initial_state()["teacher"]) for i in (0, 2)]
    assert sizes[1] < sizes[0]
    assert narrow.parameters["teacher"] < mixed.parameters["teacher"] < resolve({"clients": 4}).parameters["teacher"]


def test_the_mean_teacher_is_that_of_clients_that_have_one():
    large, less = parameters(tiny.network(12)), parameters(small())
    own = {"classes.small.clients": "2", "classes.small.teacher": "tests.test_device_classes:small"}
    assert experiment_of(**ZERO, **own).parameters["teacher"] == round((large + less) / 2)
    nobody = experiment_of(**{"classes.zero.share": 1.0, "classes.zero.teacher": "none"})
    assert nobody.parameters["teacher"] == large


def test_classes_are_built_whose_nodes_may_come_and_no_others():
    zero = {"classes.zero.teacher": "none"}
    assert [local.kind for local in experiment_of(**zero).locals()] == [""]
    assert [local.kind for local in experiment_of(**zero, **{"partition.kind": "nodes"}).locals()] == ["", "zero"]


def test_a_node_says_its_class_in_a_field_that_others_leave_out():
    fields = answer_fields(Answer(1, device_class="zero"))
    assert read_answer(fields).device_class == "zero"
    assert "class" not in answer_fields(Answer(1))
    with pytest.raises(ValueError, match="class must be text"):
        read_answer({**fields, "class": 3})


def not_a_model():
    return 7


@pytest.mark.parametrize(
    "settings, words",
    [
        (
            {"classes.a.teacher_width": 8},
            r"classes.a.teacher_width must be 0 with task 'tiny', which builds its teacher",
        ),
        ({"classes.a.teacher": "nowhere:small"}, r"classes.a.teacher 'nowhere:small': ModuleNotFoundError"),
        ({"classes.a.teacher": "tests.tiny:absent"}, r"classes.a.teacher 'tests.tiny:absent': AttributeError"),
        ({"classes.a.teacher": "tests.test_device_classes:not_a_model"}, r"must return a keras.Model, got int"),
    ],
)
def test_a_teacher_that_cannot_be_built_is_refused_before_any_round(settings, words, tmp_path):
    settings = {**SETTINGS, "classes.a.share": 0.5, **settings}
    with pytest.raises(fedkd.InputError, match=words) as refused:
        fedkd.run(tiny.task(), settings=settings, out=tmp_path / "run", progress=False)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_task_with_teachers_for_clients_and_classes_are_refused():
    task = replace(tiny.task(), teachers={1: small})
    experiment = resolve({"task": "object:tiny", **SETTINGS, **ZERO}, lambda *_: task)
    with pytest.raises(fedkd.InputError, match="classes must be left out where the task has teachers of its own"):
        experiment.locals()


def test_state_of_one_class_is_not_read_by_another(tmp_path):
    kinds = ("", "1", "zero", "finishing", "teacher")
    paths = {pooled_path(tmp_path, stage, kind) for kind in kinds for stage in ("", "teacher", "finishing")}
    assert len(paths) == 15
    assert all(path.name.startswith(tmp_path.name) for path in paths)
    StateFolder(tmp_path, owner_of("run", "print", "zero")).save(ClientState(1, [], {"student": [np.zeros(2)]}))
    assert StateFolder(tmp_path, owner_of("run", "print", "zero")).load()
    assert StateFolder(tmp_path, owner_of("run", "print", "")).load() is None
    assert owner_of("run", "print", "1") == owner_of("run", "print", "")


@pytest.mark.slow
def test_a_training_file_is_for_its_class_and_says_nothing_of_others():
    experiment = experiment_of(**ZERO, **{"classes.zero.epochs": 3})
    found = about(experiment, experiment, "zero")
    assert (found["settings"]["train.epochs"], found["kind"]) == (3, "zero")
    assert not [key for key in found["settings"] if key.startswith("classes")]
    opened = Opened(content_of(experiment, "zero", found))
    assert opened.record["roles"] == ["student"]


@pytest.mark.slow
def test_a_run_of_classes_stops_and_goes_on_and_its_reports_go_by_class(tmp_path):
    settings = {
        "task": "tests.tiny:task", **SETTINGS, **ZERO, "edge.qat": True, "edge.finish_rounds": 1,
        "train.evaluate_every": 1, "train.holdout": 0.2,
    }  # fmt: skip
    whole = fedkd.open_run(run(settings, "local", tmp_path / "whole", False, True, QUIET))
    pooled = tmp_path / "pooled"
    run({**settings, "threads": 2}, "local", pooled, False, False, QUIET)
    assert fedkd.open_run(pooled).history[-1].shared_sha256 == whole.history[-1].shared_sha256
    longer = {**settings, "edge.qat": False, "edge.finish_rounds": 0}
    at_once = fedkd.open_run(run({**longer, "rounds": 3}, "local", tmp_path / "three", False, False, QUIET))
    run(longer, "local", tmp_path / "two", False, False, QUIET)
    prolonged = fedkd.open_run(resume(tmp_path / "two", "local", QUIET, rounds=3, trust=True))
    assert prolonged.history[-1].shared_sha256 == at_once.history[-1].shared_sha256
    figures = whole.summary.by_class
    assert {name: held.clients for name, held in figures.items()} == {"": 2, "zero": 2}
    assert figures["zero"].teacher_mean is figures["zero"].teacher_personal is None
    assert figures[""].teacher_mean == whole.summary.quality.teacher_mean
    assert all(held.seconds > 0 and held.shared_personal is not None for held in figures.values())
    with pytest.raises(fedkd.InputError, match="client 1 is of class 'zero', which trains no teacher"):
        write_model(tmp_path / "whole", 1, tmp_path / "teacher.keras", False, True)
    write_model(tmp_path / "whole", 0, tmp_path / "teacher.keras", False, True)
    assert keras.saving.load_model(tmp_path / "teacher.keras").count_params() == parameters(tiny.network(12))
