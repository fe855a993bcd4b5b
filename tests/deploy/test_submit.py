"""Laws of a run that is handed to a deployment."""

import io
import stat
import tomllib

import pytest
from rich.console import Console
from typer.testing import CliRunner

from fedkd.base.errors import InputError, RunError, StoppedError
from fedkd.protocol.resolve import experiment_of
from fedkd.results.run_folder import RunFolder
from sims.cli import app
from sims.deploy import flower
from sims.deploy.app_folder import write_app
from sims.deploy.deployed import Deployed
from sims.deploy.submit import submit
from sims.run import absolute


@pytest.fixture
def submitted(monkeypatch):
    """The configurations of runs that are submitted; Flower calls each of them completed."""
    seen = []

    def start(env, app_folder):
        app = tomllib.loads((app_folder / "pyproject.toml").read_text())["tool"]["flwr"]["app"]
        seen.append({"home": env["FLWR_HOME"], **app["config"]})
        return str(len(seen))

    monkeypatch.setattr(flower, "start", start)
    monkeypatch.setattr(flower, "wait_until_finished", lambda env, run, look, heard: "finished:completed")
    return seen


def test_a_run_on_real_machines_has_a_client_a_node_each_with_its_own_data(deployment, submitted, tmp_path):
    submit(deployment.folder, {"rounds": 3}, tmp_path / "run", True, False, Console(quiet=True))
    (config,) = submitted
    assert config["home"] == str(deployment.admin)
    assert (config["clients"], config["task"], config["rounds"]) == (2, "digits", 3)
    assert config["partition"]["kind"] == "nodes"
    assert config["out"] == str(tmp_path / "run")
    assert (config["engine"], config["overwrite"], config["resume"]) == ("deployment", True, False)


def test_a_run_that_goes_on_has_the_settings_it_had(deployment, submitted, tmp_path):
    out, quiet = tmp_path / "run", Console(quiet=True)
    before = {"clients": 2, "partition.kind": "nodes", "rounds": 7, "train.epochs": 3}
    RunFolder.create(out, experiment_of(absolute(before)).config, False)
    submit(deployment.folder, {}, out, False, True, quiet)
    submit(deployment.folder, {"train.epochs": 3}, out, False, True, quiet)
    assert [(c["rounds"], c["train"]["epochs"], c["resume"]) for c in submitted] == [(7, 3, True)] * 2
    with pytest.raises(InputError, match=r"config.toml: these settings differ: train.epochs was 3, is 4"):
        submit(deployment.folder, {"train.epochs": 4}, out, False, True, quiet)
    assert len(submitted) == 2


def test_a_run_may_be_made_longer_or_go_back(deployment, submitted, tmp_path):
    out, said = tmp_path / "run", Console(record=True, width=200, quiet=False, file=io.StringIO())
    RunFolder.create(out, experiment_of(absolute({"clients": 2, "partition.kind": "nodes", "rounds": 7})).config, False)
    submit(deployment.folder, {"rounds": 9, "threads": 3}, out, False, True, said, 6)
    assert [(c["rounds"], c["from_round"], c["resume"]) for c in submitted] == [(9, 6, True)]
    assert "12 rounds: 9 of training, then 3 finishing rounds (prune weights 50%)" in said.export_text()
    with pytest.raises(InputError, match="--from-round takes --resume"):
        submit(deployment.folder, {}, tmp_path / "other", False, False, said, 6)


def test_a_run_that_failed_names_a_log_that_nobody_could_have_put_there(deployment, submitted, tmp_path, monkeypatch):
    monkeypatch.setattr(flower, "wait_until_finished", lambda env, run, look, heard: "finished:failed")
    monkeypatch.setattr(flower, "log_of", lambda env, run: "error: out of luck\n")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(RunError, match=r"ended as finished:failed: error: out of luck \(log: (.*)\)") as error:
        submit(deployment.folder, {}, tmp_path / "run", False, False, Console(quiet=True))
    (log,) = tmp_path.glob("fedkd-run-1-*.log")
    assert str(log) in str(error.value)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_run_that_was_stopped_says_how_it_goes_on(deployment, submitted, tmp_path, monkeypatch):
    monkeypatch.setattr(flower, "wait_until_finished", lambda env, run, look, heard: "finished:stopped")
    out = tmp_path / "run"
    with pytest.raises(StoppedError, match="before it began; start it again"):
        submit(deployment.folder, {}, out, False, False, Console(quiet=True))
    RunFolder.create(out, experiment_of({"clients": 2, "partition.kind": "nodes"}).config, False)
    with pytest.raises(StoppedError) as stopped:
        submit(deployment.folder, {}, out, False, False, Console(quiet=True))
    assert str(stopped.value) == (
        "stopped by `fedkd deploy stop` or `flwr stop` after round 0 of 23; go on with: fedkd deploy run"
        f" {deployment.folder} --out {out} --resume"
    )
    command = ["deploy", "run", str(deployment.folder), "--out", str(out)]
    done = CliRunner().invoke(app, command)
    assert (done.exit_code, done.output.splitlines()[-1]) == (130, str(stopped.value))


def test_a_command_that_is_interrupted_leaves_the_run_alone_and_says_so(deployment, submitted, tmp_path, monkeypatch):
    def interrupted(env, run, look, heard):
        raise KeyboardInterrupt

    monkeypatch.setattr(flower, "wait_until_finished", interrupted)
    with pytest.raises(KeyboardInterrupt, match=r"but run 1 goes on: `fedkd deploy stop .*` stops it"):
        submit(deployment.folder, {}, tmp_path / "run", False, False, Console(quiet=True))
    assert Deployed.read(deployment.folder).last_out == tmp_path / "run"


def test_flower_that_isnt_installed_here_is_named_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(flower, "_BIN", tmp_path)
    with pytest.raises(RunError, match=rf"{tmp_path}/flwr: no such command"):
        flower.start({}, tmp_path)
    assert flower.log_of({}, "1") == ""


def test_the_app_needs_no_checkout_and_holds_the_runs_settings(tmp_path):
    write_app(tmp_path / "app", {"task": "digits", "train.epochs": 3, "out": "there"})
    app = tomllib.loads((tmp_path / "app/pyproject.toml").read_text())["tool"]["flwr"]["app"]
    assert app["config"] == {"task": "digits", "train": {"epochs": 3}, "out": "there"}
    for reference in app["components"].values():
        assert (tmp_path / "app" / (reference.split(":")[0].replace(".", "/") + ".py")).exists()
    assert {path.name for path in (tmp_path / "app").iterdir()} == {"fedkd", "clients", "server", "pyproject.toml"}
    assert {path.suffix for path in (tmp_path / "app").rglob("*") if path.is_file()} == {".py", ".toml"}
