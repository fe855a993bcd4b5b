"""Laws of what a server notes of its rounds: the figures are those of the task's metrics, whatever these are."""

import json

import pytest

from fedkd.base.errors import InputError
from fedkd.objectives.metric import ACCURACY, F1, Scale
from fedkd.protocol.messages import Answer, answer_fields, read_answer, teacher_key
from fedkd.protocol.state import ServerState
from fedkd.results.round import Round
from server.checkpoint import Checkpoint, RunProgress
from server.record import with_quality
from tests.forged import Light, honest, light, run

MAE, RMSE = (Scale(name, name, "kWh", "lower") for name in ("mae", "rmse"))


class Tides(Light):
    """An experiment whose models are measured by two errors."""

    metrics = (MAE, RMSE)

    def quality(self, weights, threads=1):
        return {"mae": 43.0, "rmse": 55.0}


def measuring(experiment):
    """Clients that measure their teachers: client i has a mean absolute error of 40 + i and a square one of 50."""

    def says(offer, partition):
        figures = {"teacher.mae": 40.0 + partition, "teacher.rmse": 50.0, "teacher_personal": 39.0}
        fields = read_answer(honest(experiment, offer, partition))
        return [answer_fields(Answer(partition, fields.blob, fields.examples, figures | {"teacher.bias": 1.0}))]

    return says


def test_a_round_has_the_figures_of_the_tasks_metrics_and_no_others():
    """Of 40, 41, 42 and 43 the mean is 41.5 and the standard deviation the root of 1.25."""
    experiment = light(Tides, rounds=1)
    rounds, _ = run(experiment, measuring(experiment))
    line = rounds[0].to_json()
    quality = {key: line[key] for key in line if key.startswith(("shared_", "teacher_")) and key != "shared_sha256"}
    assert quality == {
        "shared_mae": 43.0, "shared_rmse": 55.0, "teacher_mean": 41.5, "teacher_std": pytest.approx(1.25**0.5),
        "teacher_personal": 39.0, "teacher_rmse": 50.0,
    }  # fmt: skip


def test_where_nothing_is_shared_the_mean_of_the_clients_own_counts():
    experiment = light(Tides, method="local")
    found = with_quality(Round(1, 1, "train"), experiment, {}, {0: {"teacher.mae": 1.0, "teacher.rmse": 3.0}})
    assert found.shared == {"mae": 1.0, "rmse": 3.0}
    unmeasured = with_quality(Round(1, 1, "train"), experiment, {}, {})
    assert (unmeasured.shared, unmeasured.teacher_mean, unmeasured.teacher_others) == ({"mae": None}, None, {})


def test_memory_is_in_the_history_where_nodes_say_it_and_nowhere_else():
    experiment = light(Tides, rounds=1)

    def says(offer, partition):
        fields = read_answer(honest(experiment, offer, partition))
        figures = {"seconds": 2.0} | ({"peak_bytes": 7e8} if partition == 1 else {})
        return [answer_fields(Answer(partition, fields.blob, fields.examples, figures))]

    assert run(experiment, says)[0][0].clients["peak_bytes"] == [None, 7e8, None, None]
    assert "peak_bytes" not in run(experiment, measuring(experiment))[0][0].clients


def test_a_line_of_the_history_holds_a_whole_round():
    experiment = light(Tides, rounds=1)
    (ended,), _ = run(experiment, measuring(experiment))
    line = json.loads(json.dumps(ended.to_json()))
    assert Round.from_json(line).to_json() == line


def test_keys_of_a_line_come_in_the_order_they_always_had():
    row = Round(1, 2, "train", shared={"accuracy": 0.5, "f1": 0.4}, teacher_others={"f1": 0.3})
    assert list(row.to_json()) == [
        "round", "rounds", "phase", "sparsity", "energy", "participants", "closed", "loss", "ranks", "shared_accuracy",
        "shared_f1", "teacher_mean", "teacher_std", "teacher_personal", "teacher_f1", "up_bytes", "down_bytes",
        "behind", "refused", "norms", "clients", "seconds", "elapsed", "shared_sha256",
    ]  # fmt: skip


def test_figures_of_clients_are_one_a_participant_in_every_way_there_and_back():
    row = Round(1, 2, "train", shared={"accuracy": 0.5}, participants=(4, 7), clients={"norm": (0.25, None)})
    assert Round.from_json(json.loads(json.dumps(row.to_json()))) == row
    for wrong in ([0.25], 3, [0.25, "x"], [0.25, float("nan")]):
        with pytest.raises(InputError, match=r"clients.norm(\[1\])? must be"):
            Round.from_json(row.to_json() | {"clients": {"norm": wrong}})


def test_a_checkpoint_from_before_tasks_owned_their_metrics_keeps_what_clients_measured(tmp_path):
    state = ServerState(1, [], [], "", run="run")
    checkpoint = Checkpoint(tmp_path / "checkpoint", "0" * 64)
    checkpoint.save(RunProgress(state, quality={3: {"teacher": 0.5, "teacher_f1": 0.4, "teacher_personal": 0.3}}))
    loaded = checkpoint.load()
    assert loaded.quality == {3: {teacher_key(ACCURACY.name): 0.5, teacher_key(F1.name): 0.4, "teacher_personal": 0.3}}
