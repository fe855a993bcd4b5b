"""Laws of what a process makes once for all clients of a run."""

import gc
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fedkd.exchange.blob import PayloadError
from fedkd.protocol import resolve as resolving
from fedkd.protocol.federation import follow, known_bases, new_client
from fedkd.protocol.finishing import reshaped
from fedkd.protocol.reference import Federation
from fedkd.protocol.resolve import experiment_of, resolve
from fedkd.protocol.run_cache import Recent, RunCache

SETTINGS = {"task": "tests.protocol.test_oracle:task", "clients": 3, "rounds": 2, "method": "powersgd"}
FINISH = {"edge.finish_rounds": 1, "edge.qat": True, "edge.precisions": "none"}


@pytest.fixture(scope="module")
def federation():
    """After two rounds, so that there is a broadcast."""
    held = Federation(resolve(SETTINGS))
    for _ in range(2):
        held.round([0, 1])
    return held


def test_only_the_last_few_are_held():
    recent, made = Recent(2), []
    for key in (1, 2, 1, 3, 1, 2):
        assert recent.get(key, lambda key=key: made.append(key) or -key) == -key
    assert made == [1, 2, 3, 2]


def test_threads_that_ask_for_the_same_wait_for_the_first():
    recent, made, start = Recent(2), [], threading.Barrier(4)

    def make():
        time.sleep(0.05)
        made.append(1)
        return object()

    def ask():
        start.wait()
        return recent.get("key", make)

    with ThreadPoolExecutor(4) as pool:
        found = [future.result() for future in [pool.submit(ask) for _ in range(4)]]
    assert len(made) == len(set(map(id, found))) == 1


def test_what_cannot_be_made_is_not_held_and_the_next_who_asks_may_have_more_luck():
    cache = RunCache()
    with pytest.raises(PayloadError):
        cache.broadcast(b"none", ())
    recent = Recent(1)
    with pytest.raises(ZeroDivisionError):
        recent.get("key", lambda: 1 // 0)
    assert recent.get("key", lambda: 7) == 7


def test_what_clients_share_none_can_change(federation):
    experiment, step = federation.experiment, federation.server.steps[-1]
    update = experiment.cache.broadcast(step.blob, experiment.spec)
    bases = known_bases(experiment, 2, step.blob)
    begun = reshaped(resolve(SETTINGS | FINISH), (), federation.server.shared)
    for array in (*update, *(basis.vectors for basis in bases if basis), *begun):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    update.clear()  # a list is each caller's own
    assert len(experiment.cache.broadcast(step.blob, experiment.spec)) == len(experiment.spec)


def test_dense_model_that_a_client_starts_from_cannot_be_changed(federation):
    federation.begin()
    base = follow(new_client(federation.experiment.local()), federation.offer(None), federation.experiment)
    with pytest.raises(ValueError, match="read-only"):
        base[0][...] = 0


def test_clients_of_a_process_share_and_experiments_do_not(federation):
    blob, first, other = federation.server.steps[-1].blob, federation.experiment, resolve(SETTINGS)
    arrays = [e.cache.broadcast(blob, first.spec)[0] for e in (first, first, other)]
    assert arrays[0] is arrays[1]
    assert arrays[0] is not arrays[2]
    np.testing.assert_array_equal(arrays[0], arrays[2])
    directions = [known_bases(e, 2, blob) for e in (first, first, other)]
    assert directions[0] is directions[1]
    assert directions[0] is not directions[2]


def test_finishing_rounds_have_one_experiment_of_their_own(monkeypatch):
    experiment = resolve(SETTINGS | FINISH)
    later = experiment.at(3, ())
    assert later is experiment.at(3, ())
    assert later is not experiment
    assert later.cache is not experiment.cache
    assert experiment.at(2, ()) is experiment


def test_after_a_run_is_forgotten_nothing_of_it_is_held():
    resolving.forget()
    experiment = experiment_of(SETTINGS | FINISH)
    run = Federation(experiment)
    for _ in range(3):
        run.round([0])
    blob = run.server.steps[1].blob
    held = [
        *experiment.cache.broadcast(blob, experiment.spec),
        *(basis.vectors for basis in known_bases(experiment, 2, blob) if basis),
        experiment,
        experiment.at(3, ()),
    ]
    gone = [weakref.ref(each) for each in held]
    del experiment, run, held
    gc.collect()
    assert all(ref() is not None for ref in gone)  # the process's own experiment has them
    resolving.forget()
    gc.collect()
    assert [ref() for ref in gone if ref() is not None] == []
