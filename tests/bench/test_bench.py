"""Laws of the benchmarks: the work is what they say, and every engine does it."""

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fedkd.base.errors import RunError
from fedkd.models.inspect import build_model, parameters
from fedkd.results.round import Round
from sims.bench import kernels, measure, node, step, work
from sims.bench.alone import training_alone
from sims.bench.bare import bare_loop
from sims.bench.engine import check_complete, whole_path, write_work
from sims.bench.measure import Measured, SkippedError, check_equal, compare, make_experiment
from sims.bench.report import report, show


def bench(*arguments):
    command = [str(Path(sys.executable).with_name("fedkd")), "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_models_have_the_sizes_that_the_work_is_named_by():
    task = work.task(1)
    assert parameters(build_model(task.student, 0)) == 20_490
    assert parameters(build_model(task.teacher, 0)) == 421_642


def test_every_client_gets_five_full_batches():
    experiment = make_experiment("fedavg", 10, 2)
    assert {len(experiment.client_data(i)[0]) for i in range(10)} == {work.EXAMPLES}


def test_whole_path_ends_in_the_weights_of_a_loop_by_hand():
    """ServerApp, grid, ClientApp, codec and state against TensorFlow's own operations: the same work."""
    experiment = make_experiment("fedavg", 10, 3)
    whole, alone = whole_path(experiment).weights, training_alone(experiment).weights
    check_equal({"whole path": whole, "alone": alone, "loop": bare_loop(experiment).weights}, tolerance=1e-5)


@pytest.mark.slow
def test_training_alone_trains_teachers_too():
    experiment = make_experiment("fedkd", 10, 2)
    check_equal({"alone": training_alone(experiment).weights, "loop": bare_loop(experiment).weights}, tolerance=1e-5)


def test_peers_get_the_batches_that_the_trainer_draws(tmp_path):
    experiment = make_experiment("fedavg", 10, 2)
    write_work(experiment, tmp_path / "work.npz")
    with np.load(tmp_path / "work.npz") as file:
        assert file["x"].shape == (10, work.EXAMPLES, 28, 28, 1)
        assert file["rows"].shape == (2, 10, work.BATCHES, work.BATCH)
        assert all(sorted(order.ravel()) == list(range(work.EXAMPLES)) for order in file["rows"].reshape(20, -1))
        np.testing.assert_array_equal(file["weight_0"], experiment.initial_shared()[0])


def test_engines_that_end_apart_are_not_compared():
    ends = {"a": [np.zeros(3)], "b": [np.full(3, 1e-5)], "c": [np.array([0, 0, 1e-3])]}
    with pytest.raises(RunError, match=r"c ended 1\.0e-03 from a"):
        check_equal(ends)
    with pytest.raises(RunError, match="b ended nan"):
        check_equal({"a": [np.zeros(1)], "b": [np.array([np.nan])]})


def test_rows_are_medians_against_the_floor_of_the_same_run(monkeypatch):
    monkeypatch.setattr(measure, "matmul_gflops", lambda: 100.0)
    seconds = iter([1.0, 4.0, 2.0])
    experiment = make_experiment("fedavg", 10, 2)
    engines = {"fake": lambda _: Measured([next(seconds)], [])}
    (row,), rates = compare("fedavg", experiment, engines, 3)
    assert rates == [100.0] * 6
    assert row["seconds_per_round"] == 2.0
    assert row["client_updates_per_second"] == 5.0
    assert row["of_floor"] == pytest.approx(10 * work.client_mflop("fedavg") / 1e3 / 100 / 2)


def test_peer_that_fails_is_a_row_and_the_others_go_on():
    def broken(_):
        raise SkippedError("out of memory")

    experiment = make_experiment("fedavg", 10, 2)
    rows, _ = compare("fedavg", experiment, {"ours": lambda _: Measured([1.0], []), "broken": broken}, 2)
    assert [row.get("skipped") for row in rows] == [None, "out of memory"]
    assert rows[0]["times_slower_than_ours"] == 1.0


def test_round_from_which_a_client_dropped_out_does_not_count():
    rounds = [Round(2, 2, "train", participants=[0], refused=[{"why": "disk full"}])]
    with pytest.raises(RunError, match="round 2: 1 of 2 clients: disk full"):
        check_complete(rounds, 2)


def test_table_and_json_hold_the_same_rows(capsys):
    result = report("engine", 200.0, [{"engine": "fedkd", "of_floor": 0.5}, {"engine": "pfl", "skipped": "no wheel"}])
    show(result, True, Console())
    assert json.loads(capsys.readouterr().out) == result
    show(result, False, Console(width=100))
    table = capsys.readouterr().out
    assert all(text in table for text in ("fedkd", "0.5", "pfl", "no wheel", "200 GFLOP/s"))


def test_numbers_are_never_cut_in_two(capsys):
    row = {f"column_{i}_of_many": 1.2345e-06 for i in range(12)} | {"task": "a name of some length that may be folded"}
    show(report("step", 100.0, [row]), False, Console(width=60))
    assert capsys.readouterr().out.count("1.23e-06") == 12


@pytest.mark.slow
def test_step_by_a_file_ends_as_near_to_tensorflow_as_tensorflow_to_itself():
    rows = step.rows(100.0, 1, "digits", "")
    assert [row["optimizer"] for row in rows] == ["adam", "sgd"]
    for row in rows:
        for role in ("teacher", "student"):
            assert row[f"{role}_off"] < max(1e-6, 2 * row[f"{role}_off_by_rounding"])
            assert 0 < row[f"{role}_off_by_rounding"] < 1e-3
        assert row["optimizer"] == "adam" or max(row["teacher_off"], row["student_off"]) < 1e-6
        assert row["litert_over_tensorflow"] == pytest.approx(row["litert_ms"] / row["tensorflow_ms"])


def test_peer_that_can_not_be_installed_is_a_row_and_the_others_run(monkeypatch, tmp_path):
    from sims.bench import compare as comparing
    from sims.bench.peers.environments import PeerError

    def environment(peer, folder):
        if peer.name == "pfl":
            raise PeerError("no wheel of torch")
        return folder / "python"

    monkeypatch.setattr(comparing.environments, "environment", environment)
    engines, skipped = comparing._peers(tmp_path)
    assert skipped == [{"engine": "pfl", "work": "fedavg", "skipped": "no wheel of torch"}]
    assert set(engines) == {"flower_quickstart", "flower_actor", "fedjax"}
    assert all(isinstance(engine, partial) for engine in engines.values())


@pytest.mark.bench
def test_codec_prints_one_json_object_with_its_ratio_to_the_machine():
    done = bench("codec", "--json", "--repeats", "1")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["bench"] == "codec"
    assert result["matmul_gflops"] > 0
    assert {"encode_mb_s", "decode_mb_s", "gflop"} <= set(result["rows"][0])
    assert result["machine"]["cores"] >= 1


@pytest.mark.bench
def test_profile_names_the_parts_of_a_round_and_they_add_up():
    done = bench("profile", "--json", "--repeats", "1")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    parts = [r for r in rows if r["work"] == "fedkd" and r["part"]]
    assert {"training", "update: SVD and encode", "state: write"} <= {r["part"] for r in parts}
    assert sum(r["share"] for r in parts) == pytest.approx(1)
    assert any("Conv2D" in r["operation"] for r in rows if r["operation"])


@pytest.mark.bench
def test_profile_of_a_task_as_it_ships():
    done = bench("profile", "--json", "--repeats", "1", "--task", "digits")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    assert {row["work"] for row in rows} == {"digits"}
    assert sum(row["share"] for row in rows) == pytest.approx(1)


@pytest.mark.parametrize(
    "what", ["node", *(pytest.param(what, marks=pytest.mark.slow) for what in ("profile", "step"))]
)
def test_task_without_its_data_is_refused_in_one_line(what):
    done = bench(what, "--task", "ade")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "--data" in done.stderr


def test_bad_number_of_clients_is_refused_in_one_line():
    done = bench("engine", "--clients", "7")
    assert (done.returncode, done.stderr) == (2, "error: --clients must be one of 10, 100, 1000, got 7\n")


def test_other_build_that_is_none_is_refused_in_one_line(tmp_path):
    done = bench("node", "--against", str(tmp_path))
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "must be a checkout" in done.stderr


def test_kernels_that_other_codes_lose_arrive():
    """What docs/elsewhere.md says of this project's rule."""
    found = {(row["kernel"].split()[0], row["energy"]): row for row in kernels.rows(1.0)}
    for energy in (0.95, 0.98):
        dense, convolution = found["dense", energy], found["convolution", energy]
        assert (dense["kept"], dense["numbers"], dense["energy_lost"]) == (10, 640, 0.0)
        assert (convolution["kept"], convolution["numbers"], convolution["numbers_dense"]) == (4, 704, 4608)
        assert convolution["energy_lost"] < 1e-12


@pytest.mark.parametrize("read", [[], ["cmdline"], ["cmdline", "comm"]])
def test_a_process_that_ends_while_it_is_looked_at_is_none(read, tmp_path, monkeypatch):
    (tmp_path / "4194305").mkdir()
    for name in read:
        (tmp_path / "4194305" / name).write_bytes(b"flwr-clientapp")
    monkeypatch.setattr(node.Path, "glob", lambda self, pattern: [tmp_path / "4194305"])
    watch = node.Watch("mark")
    watch.look()
    assert watch.found == {}
