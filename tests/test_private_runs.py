"""Laws of runs that promise their clients privacy: what counts of an update, what is told, and what is spent."""

import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from fedkd.base.errors import InputError
from fedkd.base.tensors import squared_norm
from fedkd.config.settings import build
from fedkd.exchange.codec import encode
from fedkd.protocol.federation import header_of, new_server
from fedkd.protocol.messages import Answer, answer_fields
from fedkd.protocol.resolve import experiment_of
from fedkd.results.run_folder import RunFolder
from fedkd.results.summary import Summary
from server.checkpoint import Checkpoint, RunProgress
from server.privacy import Keeper
from server.resuming import check_spent_once
from server.strategy import FedKD
from sims.cli import app
from sims.privacy import priced
from sims.run import resume, run
from tests.forged import ForgedGrid, Light, drawn, light

PROMISED = {"privacy.epsilon": 8.0, "exchange.weighting": "uniform"}
DENSE = {"method": "fedavg_student", **PROMISED}
SHORT = {"task": "digits", "clients": 4, "rounds": 2, "partition.examples": 120, "edge.precisions": "none"}
QUIET = Console(quiet=True)


def forged(experiment, updates, simulated=True):
    """Records and the last state of a run whose clients send ``updates(round, partition)``."""

    def says(offer, partition):
        header, coding = header_of(offer.round, offer.base, experiment), experiment.coding("up", offer.energy)
        blob = encode(updates(offer.round, partition), experiment.spec, header, coding)
        return [answer_fields(Answer(partition, blob, 10, {"loss_student": 1.0, "seconds": 2.0}))]

    records, grid = [], ForgedGrid(experiment.config.clients, says)
    strategy = FedKD(
        experiment,
        RunProgress(new_server(experiment)),
        grid,
        lambda ended, _: records.append(ended),
        Keeper(experiment, simulated),
    )
    strategy.run()
    return records, strategy.state


def zeros(round_, partition):
    return [np.zeros(item.shape, np.float32) for item in Light.spec]


def test_the_noise_of_a_thousand_rounds_is_the_claimed_one():
    experiment = light(rounds=1000, clients=1, **{key.replace(".", "__"): value for key, value in DENSE.items()})
    _, state = forged(experiment, zeros)
    claimed = experiment.promise.multiplier * experiment.config.privacy.clip
    count = sum(item.size for item in Light.spec)
    walked = squared_norm(state.shared) / (1000 * claimed**2)
    assert abs(walked - count) < 5 * (2 * count) ** 0.5


def test_a_client_moves_the_mean_by_no_more_than_the_bound_lets():
    experiment = light(rounds=1, **{key.replace(".", "__"): value for key, value in DENSE.items()})
    _, quiet = forged(experiment, zeros)
    _, loud = forged(experiment, lambda r, p: [1e6 * a for a in drawn(experiment, r)] if p == 2 else zeros(r, p))
    moved = squared_norm([a - b for a, b in zip(loud.shared, quiet.shared, strict=True)]) ** 0.5
    assert moved == pytest.approx(experiment.config.privacy.clip / 4, rel=1e-4)


def test_noise_is_the_same_whoever_fails_or_is_refused():
    """A client that fails counts as zeros; else the size of the noise would tell that it did."""
    experiment = light(rounds=1, guard__norm=5.0, **{key.replace(".", "__"): value for key, value in DENSE.items()})
    _, quiet = forged(experiment, zeros)
    records, refused = forged(
        experiment, lambda r, p: [100 * a for a in drawn(experiment, r)] if p == 2 else zeros(r, p), simulated=True
    )
    assert [entry["reason"] for entry in records[0].refused] == ["norm"]
    assert all(np.array_equal(a, b) for a, b in zip(quiet.shared, refused.shared, strict=True))


def test_simulations_repeat_their_noise_and_machines_of_their_own_never_do():
    experiment = light(rounds=1, **{key.replace(".", "__"): value for key, value in DENSE.items()})
    first, second = (forged(experiment, zeros)[1].shared for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    first, second = (forged(experiment, zeros, simulated=False)[1].shared for _ in range(2))
    assert not any(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_of_clients_on_machines_of_their_own_the_history_tells_no_figure_without_noise():
    experiment = light(rounds=2, **{key.replace(".", "__"): value for key, value in DENSE.items()})
    records, _ = forged(experiment, lambda r, p: drawn(experiment, r, p), simulated=False)
    for record in records:
        assert set(record.clients) == {"up_bytes", "down_bytes", "seconds"}
        assert (record.loss, record.norms, record.ranks, record.teacher_mean) == ({}, {}, {}, None)
        assert record.shared["accuracy"] is not None
        assert "norm" not in str(record.refused)
    spent = [record.epsilon for record in records]
    assert 0 < spent[0] < spent[1] == pytest.approx(8)
    simulated, _ = forged(experiment, lambda r, p: drawn(experiment, r, p))
    assert simulated[0].loss == {"student": 1.0}
    assert simulated[0].norms["max"] <= 1
    assert [record.epsilon for record in simulated] == spent


def test_a_round_whose_state_is_lost_is_not_spent_twice(tmp_path):
    """By the seed it would be the same round again; by the system it is another, and clients may have the first."""
    experiment = light(rounds=3, **{key.replace(".", "__"): value for key, value in DENSE.items()})
    folder = RunFolder.create(tmp_path / "run", experiment.config, False)
    records, state = forged(experiment, zeros)
    check_spent_once(experiment, folder)
    for record in records:
        folder.append(record)
    with pytest.raises(InputError, match="the state after round 3 is damaged or lost, and what that round has told"):
        check_spent_once(experiment, folder)
    states = Checkpoint(folder.states, experiment.fingerprint)
    for round_ in (2, 3):
        states.save(RunProgress(replace(state, round=round_)))
        check_spent_once(experiment, folder)
    newest = max(folder.states.iterdir())
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.raises(InputError, match="the state after round 3 is damaged or lost"):
        check_spent_once(experiment, folder)


def test_whom_a_round_asks_is_the_seeds_choice_in_simulations_only():
    experiment = light(rounds=1, clients=40, fraction=0.5, **{k.replace(".", "__"): v for k, v in DENSE.items()})
    drawn_twice = [
        [experiment.sample(Keeper(experiment, simulated).chance(1)) for _ in range(2)] for simulated in (1, 0)
    ]
    assert drawn_twice[0][0] == drawn_twice[0][1]
    assert drawn_twice[1][0] != drawn_twice[1][1]


def test_no_update_is_refused_for_what_the_others_are_like():
    experiment = light(rounds=1, **{key.replace(".", "__"): value for key, value in DENSE.items()})
    tiny = [1e-9 * array for array in drawn(experiment, 0)]
    records, _ = forged(experiment, lambda r, p: drawn(experiment, r) if p == 2 else tiny)
    assert records[0].refused == []
    assert records[0].participants == [0, 1, 2, 3]


@pytest.mark.parametrize("method", ["fedkd_plus", "powersgd"])
def test_a_run_keeps_its_promise_and_says_so(tmp_path, method):
    """With error feedback, and with directions that all know; a run that stopped ends as if it never had."""
    settings = {**SHORT, "method": method, **PROMISED, "edge.sparsity": 0.0}
    folder = run(settings, "local", tmp_path / "whole", False, False, QUIET)
    summary = Summary.from_json(json.loads((folder / "summary.json").read_text()))
    assert summary.privacy["epsilon"] == pytest.approx(8)
    assert summary.privacy["noise"] == "the run's seed"
    history = RunFolder(folder).history
    assert [ended.epsilon for ended in history][-1] == pytest.approx(8)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "save", cut_off_after(1))
        with pytest.raises(RuntimeError, match="power cut"):
            run({**settings, "threads": 1}, "local", tmp_path / "cut", False, False, QUIET)
    again = resume(tmp_path / "cut", "local", QUIET)
    assert [ended.shared_sha256 for ended in RunFolder(again).history] == [ended.shared_sha256 for ended in history]
    assert [ended.epsilon for ended in RunFolder(again).history] == [ended.epsilon for ended in history]


def cut_off_after(round_):
    save = Checkpoint.save

    def saving(self, progress):
        save(self, progress)
        if progress.state.round == round_:
            raise RuntimeError("power cut")

    return saving


def test_a_promise_is_for_the_rounds_it_was_made_for(tmp_path):
    folder = RunFolder.create(tmp_path / "run", build({**SHORT, **DENSE}), False).path
    for named in ({"rounds": 3}, {"from_round": 1}):
        with pytest.raises(InputError, match="has promised epsilon 8 over 5 rounds: it goes on, but not"):
            resume(folder, "local", QUIET, **named)


@pytest.mark.parametrize(
    "settings, said",
    [
        ({"exchange.weighting": "examples"}, "exchange.weighting must be uniform with privacy.epsilon"),
        ({"guard.rule": "median"}, "guard.rule must be mean with privacy.epsilon"),
        ({"exchange.up": "sketch", "exchange.down": "sketch"}, "exchange.up must be another than sketch"),
        ({"method": "local"}, "exchange.shared must be a model with privacy.epsilon"),
        ({"edge.qat": True}, "edge.qat must be false with privacy.epsilon"),
        ({"method": "scaffold"}, "train.control_variates must be false with privacy.epsilon"),
        ({"privacy.delta": 0.3}, "privacy.delta must be below 1/4, one in all clients"),
        ({"privacy.epsilon": -1.0}, r"privacy.epsilon must be 0 \(no promise\), or from 0.001 to 10,000, got -1.0"),
        ({"privacy.epsilon": float("nan")}, "privacy.epsilon must be 0"),
        ({"privacy.epsilon": 1e300}, "privacy.epsilon must be 0"),
        ({"privacy.clip": 1e300}, "privacy.clip must be above 0 and at most 10,000"),
        ({"guard.norm": 0.5}, "guard.norm must be 0, or at least privacy.clip"),
        ({"privacy.clip": 0.0}, "privacy.clip must be above 0"),
        ({"privacy.delta": 1.0}, r"privacy.delta must be in \(0, 1\)"),
    ],
)
def test_what_no_promise_can_be_kept_with_is_refused(settings, said):
    with pytest.raises(InputError, match=said):
        experiment_of({**SHORT, **PROMISED, **settings})


def test_a_layer_that_measures_what_it_reads_is_refused_by_name():
    with pytest.raises(InputError, match=r"no layer measures what it reads, got \S+: take another norm"):
        _ = experiment_of({"task": "tests.tiny:task", "clients": 2, **PROMISED}).promise


def test_without_the_library_the_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "dp_accounting", None)
    with pytest.raises(InputError, match=r"pip install 'fedkd\[privacy\]'"):
        _ = experiment_of({**SHORT, **DENSE}).promise


def test_the_price_is_shown_without_a_run():
    command = ["privacy", "--task", "digits", "--method", "fedavg_student", "--set", "privacy.epsilon=3"]
    done = CliRunner().invoke(app, [*command, "--set", "partition.examples=120"])
    assert done.exit_code == 0, done.output
    rows = [
        line.split()
        for line in done.output.splitlines()
        if line.split()[:1] and line.split()[0] in ("1", "2", "3", "4", "8")
    ]
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "8"]
    promise = experiment_of({**DENSE, "task": "digits", "partition.examples": 120}).promise
    assert rows[-1][1:3] == [f"{promise.multiplier:.3g}", f"{promise.relative_noise:.2g}"]
    assert "6,090 numbers" in done.output


def test_more_clients_than_examples_have_a_price_too():
    few, many = (priced({"task": "digits", "clients": 9000, "fraction": share})[0] for share in (0.01, 1.0))
    assert few.accountant.participants == 90
    assert many.relative_noise < few.relative_noise


def test_a_run_says_what_it_promises_and_warns_where_nothing_can_be_learned():
    promise = experiment_of({**SHORT, **DENSE}).promise
    assert promise.in_words.startswith(
        "privacy of each client: epsilon 8 at delta 1e-05 over 5 rounds of all 4 clients"
    )
    assert f"the noise is {promise.multiplier * 6090**0.5 / 4:.2g} x the largest mean update" in promise.warning
    assert replace(promise, multiplier=1e-3).warning == ""
