"""Clients with teachers of their own size in one federation."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from rich.console import Console

import fedkd
from fedkd.models.inspect import parameters
from fedkd.protocol.experiment import Experiment
from fedkd.protocol.reference import Federation
from fedkd.protocol.resolve import resolve
from sims.run import run
from tests import tiny

SETTINGS = {"clients": 4, "edge.qat": True, "edge.precisions": "int8", "edge.finish_rounds": 1, "train.epochs": 1}

QUIET = Console(quiet=True)


def small():
    return tiny.network(6)


def mixed():
    """Clients 1 and 3 are small machines."""
    return replace(tiny.task(), teachers={1: small, 3: small})


def experiment_of(task, **settings) -> Experiment:
    return resolve({"task": "object:tiny", **SETTINGS, **settings}, lambda *_: task)


def test_clients_with_one_builder_share_a_trainer_and_all_share_the_student():
    locals_ = [experiment_of(mixed()).local(client) for client in range(4)]
    experiment = locals_[0].experiment
    assert [experiment.local(client) is experiment.local(1) for client in range(4)] == [False, True, False, True]
    assert len(experiment.locals()) == 2
    sizes = [sum(w.size for w in local.initial_state()["teacher"]) for local in locals_]
    assert sizes[1] == sizes[3] < sizes[0] == sizes[2]
    for mine, others in zip(*(local.initial_state()["student"] for local in locals_[:2]), strict=True):
        np.testing.assert_array_equal(mine, others)


@pytest.mark.slow
def test_each_client_trains_its_own_teacher_into_the_finishing_rounds():
    federation = Federation(experiment_of(mixed(), rounds=1))
    for _ in range(2):
        federation.round(range(4))
    for client in range(4):
        held, first = federation.clients[client].local["teacher"], federation.experiment.local(client).initial_state()
        assert [a.shape for a in held] == [a.shape for a in first["teacher"]]
        assert not np.array_equal(held[0], first["teacher"][0])
    # That of a client without one of its own is built as ever.
    plain = Federation(experiment_of(tiny.task(), rounds=1))
    plain.round([0])
    alone = Federation(experiment_of(mixed(), rounds=1))
    alone.round([0])
    np.testing.assert_array_equal(plain.server.shared[0], alone.server.shared[0])


@pytest.mark.slow
def test_a_run_ends_in_the_same_bits_however_states_are_kept_and_counts_its_teachers(tmp_path):
    runs = [
        fedkd.open_run(run(settings, "local", tmp_path / name, False, keep, QUIET, mixed()))
        for name, keep in (("file", False), ("folders", True))
        for settings in [{**SETTINGS, "rounds": 2, "threads": 1 + keep}]
    ]
    assert len({run.summary.shared_sha256 for run in runs}) == 1
    assert len({run.history[-1].shared_sha256 for run in runs}) == 1
    assert runs[0].history[1].teacher_mean == runs[1].history[1].teacher_mean is not None
    large, less = parameters(tiny.network(12)), parameters(small())
    assert runs[0].summary.parameters["teacher"] == (large + less) // 2
    assert sorted(path.name for path in (tmp_path / "folders" / "clients").iterdir()) == [
        f"client-{i}" for i in range(4)
    ]
    assert not list((tmp_path / "file").glob("clients*"))


def test_methods_that_share_the_teacher_refuse_others(tmp_path):
    with pytest.raises(fedkd.InputError, match=r"task.teachers must be empty .* shares the teacher; .* client 1$"):
        fedkd.run(mixed(), method="fedavg_teacher", settings=SETTINGS, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_teacher_of_no_client_is_refused(tmp_path):
    with pytest.raises(fedkd.InputError, match=r"task.teachers holds client 9, clients must be from 0 to 3"):
        fedkd.run(replace(mixed(), teachers={9: small}), settings=SETTINGS, out=tmp_path / "run", progress=False)


def test_a_teacher_that_cannot_teach_is_refused_before_any_round(tmp_path):
    flat = replace(mixed(), teachers={2: logits_alone})
    with pytest.raises(fedkd.InputError, match="hidden"):
        fedkd.run(flat, settings=SETTINGS | {"loss.distance": 1.0}, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def logits_alone():
    inputs = keras.Input((6, 6, 1))
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(inputs)))
