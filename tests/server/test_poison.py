"""A stranger in the federation: what it sends changes little, its name is said, and honest clients aren't blamed."""

from dataclasses import replace

import numpy as np
import pytest

from fedkd.base.errors import NoAnswerError, NotFiniteError
from fedkd.exchange.codec import encode
from fedkd.protocol.federation import header_of
from fedkd.protocol.messages import read_answer
from tests.forged import LIAR, Light, drawn, light, run, with_liar


class Fragile(Light):
    """Its model's outputs aren't finite any more with weights above 1e10."""

    def quality(self, weights, threads=1):
        if max(np.abs(array).max() for array in weights) > 1e10:
            raise NotFiniteError("the outputs for 7 of 360 examples are NaN or infinite")
        return {"accuracy": 0.5}


def sending(experiment, scale):
    """A liar whose update is some times as large as an honest one."""

    def lie(offer, fields):
        update = [np.float32(scale) * array for array in drawn(experiment, offer.round, LIAR)]
        header = header_of(offer.round, offer.base, experiment)
        return [{**fields, "blob": encode(update, experiment.spec, header, experiment.coding("up", offer.energy))}]

    return lie


def without_liar(experiment):
    return run(experiment, with_liar(experiment, lambda offer, fields: []))[0]


@pytest.mark.parametrize("scale", [1e28, 1e4])
def test_an_update_out_of_all_proportion_is_refused_by_default(scale):
    experiment = light(Fragile)
    records, _ = run(experiment, with_liar(experiment, sending(experiment, scale)))
    for record in records:
        assert [(entry["client"], entry["reason"]) for entry in record.refused] == [(LIAR, "norm")]
        assert "guard.spread = 100 times the median" in record.refused[0]["why"]
        assert f"{record.refused[0]['norm']:g}" in record.refused[0]["why"]
    assert [r.shared_sha256 for r in records] == [r.shared_sha256 for r in without_liar(experiment)]


@pytest.mark.parametrize("scale", [1e-6, 30, -1])
def test_an_update_of_a_plausible_size_is_taken(scale):
    experiment = light(Fragile)
    records, _ = run(experiment, with_liar(experiment, sending(experiment, scale)))
    assert all(record.participants == [0, 1, 2, 3] for record in records)


def test_of_two_clients_the_smaller_update_is_the_measure():
    experiment = light(Fragile, clients=3)
    records, _ = run(experiment, with_liar(experiment, sending(experiment, 1e20)))
    assert all(record.participants == [0, 1] for record in records)


def test_norms_are_in_the_history_with_whose_is_the_largest():
    experiment = light(Fragile)
    records, _ = run(experiment, with_liar(experiment, sending(experiment, 30)))
    for record in records:
        assert record.norms["largest"] == LIAR
        assert 0 < record.norms["min"] <= record.norms["median"] < record.norms["max"] / 20


def test_an_average_with_which_the_model_is_not_finite_is_never_adopted():
    """Without a bound the rounds fail, name whose update was the largest, leave the model, and end the run."""
    experiment = light(Fragile, guard__spread=0.0)
    lie = sending(experiment, 1e28)
    with pytest.raises(NoAnswerError, match=r"the average can't be used: .*7 of 360 examples are NaN") as caught:
        run(experiment, with_liar(experiment, lie))
    assert len(caught.value.records) == 3
    for record in caught.value.records:
        assert not record.closed
        assert record.shared == {"accuracy": 0.5}
        assert [(entry["client"], entry["reason"]) for entry in record.refused] == [(LIAR, "not_finite")]
    assert len({record.shared_sha256 for record in caught.value.records}) == 1


def test_a_round_that_cannot_be_used_is_followed_by_one_that_can():
    experiment = light(Fragile, guard__spread=0.0)
    lie = sending(experiment, 1e28)
    records, _ = run(experiment, with_liar(experiment, lambda offer, f: lie(offer, f) if offer.round == 2 else [f]))
    assert [record.closed for record in records] == [True, False, True]


@pytest.mark.parametrize("claim", [50.0, -0.1])
@pytest.mark.parametrize("name", ["teacher.accuracy", "teacher_personal", "shared_personal"])
def test_a_share_that_cannot_be_is_refused(name, claim):
    experiment = light(Fragile)
    records, _ = run(
        experiment,
        with_liar(experiment, lambda offer, f: [{**f, "metric_names": [name], "metric_values": [claim]}]),
    )
    assert all([(e["client"], e["reason"]) for e in record.refused] == [(LIAR, "metrics")] for record in records)
    assert "accuracy is" in records[0].refused[0]["why"]


@pytest.mark.parametrize(
    "name, said", [("seconds", "that it worked for -1 s"), ("peak_bytes", "that its process had -1 bytes")]
)
def test_time_and_memory_that_cannot_be_are_refused(name, said):
    experiment = light(Fragile)
    records, _ = run(
        experiment,
        with_liar(experiment, lambda offer, f: [{**f, "metric_names": [name], "metric_values": [-1.0]}]),
    )
    assert [(e["client"], e["why"]) for e in records[0].refused] == [
        (LIAR, f"metrics: says {said}, must be at least 0")
    ]


def test_an_update_above_the_bound_that_was_set_is_noted_with_its_norm():
    experiment = light(Fragile, guard__norm=5.0)
    records, _ = run(experiment, with_liar(experiment, sending(experiment, 1e4)))
    assert [(e["client"], e["reason"], e["norm"] > 5) for e in records[0].refused] == [(LIAR, "norm", True)]


@pytest.mark.parametrize(
    "change",
    [{"extra": 1}, {"metric_names": ["loss_student", "loss_student"], "metric_values": [1.0, 2.0]}],
    ids=["unknown field", "doubled name"],
)
def test_fields_nobody_knows_and_names_said_twice_are_malformed(change):
    experiment = light(Fragile)
    records, _ = run(experiment, with_liar(experiment, lambda offer, fields: [{**fields, **change}]))
    assert all([(e["client"], e["reason"]) for e in record.refused] == [(LIAR, "malformed")] for record in records)


def test_an_honest_answer_reads_as_before():
    experiment = light(Fragile)
    seen = []
    run(experiment, with_liar(experiment, lambda offer, fields: seen.append(replace(read_answer(fields))) or [fields]))
    assert all(answer.metrics == {"loss_student": 1.0} for answer in seen)
