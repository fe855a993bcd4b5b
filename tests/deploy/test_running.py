"""Laws of looking after a run from outside: its log, and its end."""

import pytest
from typer.testing import CliRunner

from fedkd.config.settings import build
from fedkd.results.run_folder import RunFolder
from sims.cli import app
from sims.deploy import flower
from sims.deploy.deployed import Deployed
from tests.deploy import answers

LOG = "Using SuperLink: fedkd (127.0.0.1:8001)\n\x1b[92mINFO \x1b[0m:      Start `flwr-serverapp` process\nround 1\n\n"


@pytest.fixture
def asked(monkeypatch):
    """Flower with runs of a test's; what was asked of it."""
    commands, known = [], []

    def flwr(env, *arguments):
        commands.append(arguments)
        return answers.runs(*known)

    monkeypatch.setattr(flower, "flwr", flwr)
    monkeypatch.setattr(flower, "log_of", lambda env, run: LOG if run == "5" else "another\n")
    return commands, known


def call(*arguments):
    done = CliRunner().invoke(app, ["deploy", *map(str, arguments)])
    return done.exit_code, done.output.splitlines()


def test_the_run_under_way_is_stopped_and_those_before_arent(deployment, asked, tmp_path):
    commands, known = asked
    assert call("stop", deployment.folder) == (0, ["no run is under way"])
    known += [answers.run("4", "finished:completed"), answers.run("5", "running")]
    assert call("stop", deployment.folder) == (0, ["stopped run 5"])
    assert [command for command in commands if command[0] == "stop"] == [("stop", "5")]
    Deployed.read(deployment.folder).remember_run(tmp_path / "run")
    assert call("stop", deployment.folder)[1][1] == f"no round has ended in {tmp_path / 'run'}"
    RunFolder.create(tmp_path / "run", build({}), False)
    again = f"go on with: fedkd deploy run {deployment.folder} --out {tmp_path / 'run'} --resume"
    assert call("stop", deployment.folder)[1][1] == f"no round has ended in {tmp_path / 'run'}; {again}"


def test_the_log_of_the_newest_run_is_shown_without_colours_where_it_is_read_by_a_program(deployment, asked):
    _, known = asked
    code, lines = call("logs", deployment.folder)
    assert (code, lines[0].split(": ")[-1]) == (2, "no run yet, so there is no log; `fedkd deploy run` starts one")
    known += [answers.run("4", "finished:completed", "2026-11-29 19:00:26Z"), answers.run("5", "running")]
    code, lines = call("logs", deployment.folder)
    assert (code, lines[:2]) == (0, ["INFO :      Start `flwr-serverapp` process", "round 1"])
    assert "journalctl -u fedkd-supernode@N" in lines[2]
    assert call("logs", deployment.folder, "--run", "4")[1][0] == "another"
    code, lines = call("logs", deployment.folder, "--run", "3")
    assert (code, lines) == (2, ["error: --run must be one of the SuperLink's runs, 5, 4; got '3'"])


def test_a_nodes_log_is_on_the_node(deployment, asked):
    code, (line,) = call("logs", deployment.folder, "--node", "node-1")
    assert (code, "journalctl -u fedkd-supernode@1" in line) == (0, True)
    assert call("logs", deployment.folder, "--node", "9")[0] == 2
    assert asked[0] == []
