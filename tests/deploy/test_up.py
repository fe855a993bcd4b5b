"""Laws of `fedkd deploy up` before any process starts: what its nodes hold, and which runs it goes on with."""

import stat

import numpy as np
import pytest
from typer.testing import CliRunner

from fedkd.config.settings import build
from fedkd.protocol.resolve import experiment_of
from fedkd.results.run_folder import CHECKPOINT, RunFolder
from fedkd.tasks.own import read_own
from sims.cli import app
from sims.deploy.local import LocalFederation
from sims.split import write_split

DEALT = {"task": "tests.tiny:task", "clients": 2, "partition.kind": "dirichlet", "partition.alpha": 3.0}


def call(*arguments):
    done = CliRunner().invoke(app, ["deploy", "up", "--local", "2", *map(str, arguments)])
    return done.exit_code, done.output.splitlines()[-1]


def test_nodes_hold_what_the_runs_clients_hold_also_when_a_split_gave_it_to_them(tmp_path):
    write_split(DEALT, tmp_path / "split", False)
    dealt, nodes = experiment_of(DEALT), experiment_of({**DEALT, "partition.kind": "nodes", "partition.alpha": 0.5})
    first, second = (LocalFederation(tmp_path / name, dealt) for name in ("a", "b"))
    first.deal()
    second.deal(tmp_path / "split")
    for number, rows in enumerate(dealt.rows):
        for federation in (first, second):
            found = read_own(federation.data(number), nodes.task)
            np.testing.assert_array_equal(found.x, dealt.task.train.x[rows])
            assert stat.S_IMODE(federation.data(number).parent.stat().st_mode) == 0o700


def test_data_that_nobody_deals_must_be_a_splits(tmp_path):
    write_split(DEALT, tmp_path / "split", False)
    (tmp_path / "split/1/data.npz").unlink()
    code, line = call("--config", tmp_path / "split/deploy.toml", "--out", tmp_path / "run")
    assert (code, "split/1/data.npz: no such file; `fedkd split` writes one" in line) == (2, True), line
    code, line = call("--set", "partition.kind=nodes", "--out", tmp_path / "run")
    assert (code, "or --config the deploy.toml of a `fedkd split`" in line) == (2, True), line
    assert not (tmp_path / "run").exists()


def test_what_no_training_file_could_say_is_refused_before_any_process_starts(tmp_path):
    code, line = call("--task", "tests.tiny:scored", "--set", "train.engine=litert", "--out", tmp_path / "run")
    assert (code, "objective must be one of" in line, (tmp_path / "run").exists()) == (2, True, False), line


def test_a_run_whose_nodes_states_are_elsewhere_doesnt_go_on(tmp_path):
    config = build({"task": "tests.tiny:task", "clients": 2})
    folder = RunFolder.create(tmp_path / "run", config, False)
    (folder.path / CHECKPOINT).mkdir()
    (folder.path / CHECKPOINT / "1").write_bytes(b"")
    code, line = call("--resume", "--trust", "--out", tmp_path / "run")
    assert (code, "the nodes' states aren't here: `fedkd run --resume` goes on with simulations" in line) == (
        2,
        True,
    ), line


@pytest.mark.parametrize(
    "options, said",
    [
        (["--resume"], "--resume takes --out RUN"),
        (["--resume", "--out", "nowhere", "--finish", "none"], "drop 'finish'"),
        (["--resume", "--out", "nowhere"], "no run that could go on"),
        (["--from-round", "3"], "--from-round and --trust take --resume"),
    ],
)
def test_going_on_takes_a_run_and_its_own_settings(tmp_path, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    code, line = call(*options)
    assert (code, said in line) == (2, True), line
