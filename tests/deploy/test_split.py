"""Laws of the files that `fedkd split` writes for nodes: what a node reads is what a run's client has."""

import stat
import tomllib

import numpy as np
import pytest
from typer.testing import CliRunner

from fedkd.config.settings import flatten
from fedkd.protocol.resolve import resolve
from fedkd.tasks.own import read_own
from sims.cli import app

TINY = ("split", "tests.tiny:task", "--clients", "3")


def call(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def held(experiment, client, own=None):
    return [array for part in experiment.client_data(client, own) for array in (part.x, part.y, part.segments)]


def table(path):
    """A file of rows of a table, whose recordings overlap."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(5.0, 3.0, (90, 4)), np.arange(90) % 3
    parts = {"x_train": x[:70], "y_train": y[:70], "x_test": x[70:], "y_test": y[70:]}
    np.savez(path, **parts, segment_train=np.arange(70) // 2, classes=list("abc"))
    return f"npz:{path}"


@pytest.mark.parametrize("deal", [["--partition", "dirichlet", "--alpha", "3"], ["--partition", "shards"], []])
def test_a_node_reads_what_the_runs_client_has(tmp_path, deal):
    for task in ("tests.tiny:task", table(tmp_path / "table.npz")):
        out = tmp_path / task.partition(":")[0]
        given = ["--seed", 5, "--set", "partition.examples=60", "--set", "partition.minimum=2"]
        done = call("split", task, "--clients", 3, "--out", out, *deal, *given)
        assert done.exit_code == 0, done.output
        kind = deal[1] if deal else "iid"
        same = {"task": task, "clients": 3, "seed": 5, "partition.examples": 60, "partition.minimum": 2}
        dealt = resolve(same | {"partition.kind": kind} | ({"partition.alpha": 3.0} if kind == "dirichlet" else {}))
        nodes = resolve(flatten(tomllib.loads((out / "deploy.toml").read_text())))
        assert nodes.rows == ()
        for client in range(3):
            own = read_own(out / str(client) / "data.npz", nodes.task)
            for a, b in zip(held(nodes, client, own), held(dealt, client), strict=True):
                np.testing.assert_array_equal(a, b)
                assert a is None or a.dtype == b.dtype


def test_what_is_there_stays_unless_it_is_to_be_replaced(tmp_path):
    out = tmp_path / "split"
    assert call(*TINY, "--out", out).exit_code == 0
    before = (out / "0/data.npz").read_bytes()
    refused = call(*TINY, "--seed", 1, "--out", out)
    assert (refused.exit_code, refused.output.count("\n")) == (2, 1)
    assert "exists; choose another folder, or give --overwrite" in refused.output
    assert (out / "0/data.npz").read_bytes() == before
    assert call(*TINY, "--seed", 1, "--out", out, "--overwrite").exit_code == 0
    assert (out / "0/data.npz").read_bytes() != before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("all of it")
    refused = call(*TINY, "--out", tmp_path / "mine", "--overwrite")
    assert (refused.exit_code, "is not the folder of a split" in refused.output) == (2, True)
    assert (tmp_path / "mine/thesis.txt").exists()


def test_others_of_the_machine_read_no_examples(tmp_path):
    assert call(*TINY, "--out", tmp_path / "split").exit_code == 0
    assert stat.S_IMODE((tmp_path / "split").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["--clients", "0"], "0 is not in the range x>=1"),
        (["--partition", "nodes", "--clients", "2"], "partition.kind must be one that deals examples, got 'nodes'"),
        (["--clients", "500"], "clients must be at most"),
        (["--set", "edge.precision=x"], "unknown key 'edge.precision'"),
    ],
)
def test_what_cannot_be_dealt_is_one_line_and_leaves_nothing(tmp_path, arguments, said):
    done = call("split", "tests.tiny:task", "--out", tmp_path / "a/split", *arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.output.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_full_leaves_nothing(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    done = call(*TINY, "--out", tmp_path / "split")
    assert (done.exit_code, "can't be written (No space left on device)" in done.output) == (2, True)
    assert list(tmp_path.iterdir()) == []
