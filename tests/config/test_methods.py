"""Laws of the methods, through the protocol and without Flower."""

import numpy as np
import pytest

from fedkd.base.tensors import subtract, weighted_mean
from fedkd.config.methods import METHODS
from fedkd.config.settings import build
from fedkd.exchange import transforms
from fedkd.exchange.codec import decode
from fedkd.exchange.sub_model import decode_part
from fedkd.protocol.reference import Federation
from fedkd.protocol.resolve import resolve
from sims.edge.federated import _alone
from tests.protocol.test_federation import assert_identical

TINY = {"task": "tests.protocol.test_oracle:task", "clients": 3, "rounds": 4, "edge.finish_rounds": 2}


def run(settings, schedule=((0, 1, 2), (0, 1, 2))):
    federation = Federation(resolve(TINY | settings))
    for participants in schedule:
        federation.round(participants)
    return federation


@pytest.mark.parametrize("method", ["fedkd_plus", "powersgd", "topk", "fedpaq", "fetchsgd", "feddropout"])
def test_every_codec_leaves_the_same_bits_on_both_sides(method):
    """Client 1 misses a round; the last one is of finishing."""
    schedule = [[0, 1, 2], [0, 2], [0, 1, 2], [0, 1, 2], [0, 1, 2]]
    federation = Federation(resolve(TINY | {"method": method}))
    for participants in schedule:
        federation.round(participants)
        for i in participants:
            assert_identical(federation.clients[i].base, federation.server.base)


@pytest.mark.parametrize("codec", [{"exchange.up": "powersgd", "exchange.rank": 1000}, {"exchange.up": "topk"}])
def test_powersgd_and_topk_at_their_maximum_are_dense_averaging(codec):
    settings = {"method": "fedavg_student", "exchange.density": 1.0}
    dense, other = run(settings), run(settings | codec | {"exchange.feedback": True})
    for a, b in zip(dense.server.shared, other.server.shared, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)


def test_client_that_missed_rounds_keeps_what_it_has_not_sent():
    federation = run({"method": "fedkd_plus"}, [[0, 1, 2]])
    before = federation.clients[1].local["residual"]
    assert any(r.any() for r in before)
    federation.round([0, 2])
    assert_identical(federation.clients[1].local["residual"], before)
    federation.round([0, 1, 2])
    assert any(not np.array_equal(a, b) for a, b in zip(federation.clients[1].local["residual"], before, strict=True))


def test_server_sends_later_what_its_broadcast_left_behind():
    """What all broadcasts decoded to, and the server's residual, are the sum of the means of the clients' updates."""
    federation = Federation(resolve(TINY | {"method": "fedkd_plus"}))
    initial, means = federation.server.shared, []
    for _ in range(3):
        federation.round([0, 1, 2])
        means.append(weighted_mean(federation.updates, federation.weights))
    moved = subtract(federation.server.shared, initial)
    for m, r, total in zip(moved, federation.server.transforms["residual"], zip(*means, strict=True), strict=True):
        np.testing.assert_allclose(m + r, np.sum(total, 0), atol=1e-5)


@pytest.mark.parametrize("method, clients", [("fedkd", 0), ("fedkd_plus", 3)])
def test_a_round_decodes_no_update_twice_and_without_feedback_no_client_decodes_its_own(monkeypatch, method, clients):
    """The server decodes its broadcast once; who keeps a residual needs what the receiver decodes."""
    decoded = []
    monkeypatch.setattr(transforms, "decode_part", lambda *given: decoded.append(given[0]) or decode_part(*given))
    federation = run({"method": method}, [[0, 1, 2]])
    assert len(decoded) == len(set(decoded)) == clients + 1
    assert decoded[-1] == federation.server.update


def test_rows_of_one_model_beside_fedkd_plus_differ_in_the_models_alone():
    """Same codec, and where the student is alone, the same bytes but for what is in them and no teacher to pay for."""
    names = ("fedkd_plus", "fedavg_student_plus", "fedavg_teacher_plus")
    plus, student, teacher = (METHODS[name].settings for name in names)
    assert student == {**plus, "train.models": "student"}
    assert teacher == {**plus, "train.models": "teacher", "exchange.shared": "teacher"}
    federation = run({"method": "fedavg_student_plus"}, [[0, 1, 2]])
    assert set(federation.clients[0].local) == {"student.moments", "projection", "residual"}


@pytest.mark.parametrize("method", METHODS)
def test_a_run_of_any_method_can_be_trained_further_by_plain_averaging(method):
    """As `fedkd edge` does with smaller students; what belongs to the method alone is off."""
    preset = METHODS[method].settings | METHODS[method].fixed
    alone = _alone(build(preset | {"method": method}), rounds=3)
    assert (alone.exchange.shared, alone.train.models, alone.total_rounds >= alone.rounds) == (
        "student",
        "student",
        True,
    )


def test_plus_sends_less_than_the_paper_s_method():
    def sent(method):
        federation = run({"method": method}, [[0, 1, 2]])
        return len(federation.server.update)

    assert sent("fedkd_plus") < sent("fedkd")


def test_proximal_pull_keeps_clients_near_the_round_s_model():
    """With a pull of 1000 each step of 1e-3 starts by undoing the ones before; without, the model moves on."""
    settings = {"method": "fedavg_student", "train.optimizer": "sgd", "train.batch_size": 4}
    free, held = (run(settings | {"train.proximal": mu}, [[0, 1, 2]]) for mu in (0.0, 1000.0))

    def moved(federation):
        return sum(float(np.abs(u).sum()) for updates in federation.updates for u in updates[:1])

    assert moved(held) < 0.7 * moved(free)


def test_local_shares_nothing_and_central_has_all_data_at_one_client():
    local, central = (resolve(TINY | {"method": method}) for method in ("local", "central"))
    assert local.spec == central.spec == ()
    assert len(local.rows) == 3
    assert [len(rows) for rows in central.rows] == [len(local.task.train) - len(local.calibration)]
    federation = run({"method": "local"}, [[0, 1, 2]])
    assert decode(federation.server.update, ()).tensors == []
    assert any(
        not np.array_equal(a, b)
        for a, b in zip(federation.clients[0].local["teacher"], federation.clients[1].local["teacher"], strict=True)
    )


@pytest.mark.parametrize("method", ["local", "central"])
def test_methods_that_share_nothing_ask_for_no_device_files(method):
    assert resolve(TINY | {"method": method}).config.edge.wanted == ()


def test_central_stays_central_whatever_the_user_sets():
    experiment = resolve(TINY | {"method": "central", "clients": 3, "partition.kind": "natural"})
    assert experiment.config.clients == 1
