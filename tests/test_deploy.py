"""Laws of what a deployment is made of."""

import configparser
import datetime
import os
import re
import signal
import stat
import subprocess
import sys
import time
import tomllib

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key
from rich.console import Console
from typer.testing import CliRunner

from fedkd.errors import InputError, RunError
from fedkd.experiment import experiment_of
from server.run_folder import RunFolder
from sims.cli import app
from sims.deploy import flower, scripts
from sims.deploy.app_folder import write_app
from sims.deploy.folder import Deployment, write_deployment
from sims.deploy.keys import VALID_DAYS
from sims.deploy.processes import Processes, last_words
from sims.deploy.signals import interruptible
from sims.deploy.submit import submit
from sims.run import absolute


@pytest.fixture
def deployment(tmp_path):
    made = Deployment(tmp_path / "made", 2, ("pi.example", "10.0.0.7"))
    write_deployment(made, False)
    return made


def test_the_superlinks_certificate_is_signed_for_its_names_and_its_own_machine(deployment):
    ca, server = (
        x509.load_pem_x509_certificate((deployment.superlink / name).read_bytes())
        for name in ("ca.crt", "superlink.crt")
    )
    server.verify_directly_issued_by(ca)
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["pi.example", "localhost"]
    assert [str(a) for a in names.get_values_for_type(x509.IPAddress)] == ["10.0.0.7", "127.0.0.1"]
    assert (server.not_valid_after_utc - server.not_valid_before_utc).days == VALID_DAYS
    assert server.not_valid_before_utc < datetime.datetime.now(datetime.UTC)


def test_a_nodes_folder_holds_its_own_key_and_no_other_secret(deployment):
    secrets = {path for path in deployment.folder.rglob("*") if path.suffix in (".key", ".secret")}
    assert {path.relative_to(deployment.folder).parts[:2] for path in secrets} == {
        ("ca", "ca.key"), ("superlink", "superlink.key"), ("superlink", "superexec.secret"), ("nodes", "0"),
        ("nodes", "1"),
    }  # fmt: skip
    assert {stat.S_IMODE(path.stat().st_mode) for path in secrets} == {0o600}
    assert {path.name for path in deployment.node(1).iterdir()} == {
        "ca.crt", "node.key", "start.sh", "fedkd-supernode@.service",
    }  # fmt: skip


def test_a_nodes_public_key_is_that_of_its_private_key_and_no_two_are_alike(deployment):
    public = [load_ssh_public_key(deployment.public_key(i).read_bytes()) for i in range(2)]
    private = [load_ssh_private_key((deployment.node(i) / "node.key").read_bytes(), None) for i in range(2)]
    assert [key.public_key() for key in private] == public
    assert public[0] != public[1]


def test_scripts_are_shell_and_the_guide_names_this_folder(deployment):
    scripts = [*deployment.folder.rglob("*.sh")]
    assert len(scripts) == 4
    for script in scripts:
        subprocess.run(["/bin/sh", "-n", script], check=True)
    assert f"FLWR_HOME={deployment.admin}" in (deployment.folder / "README.md").read_text()
    connection = tomllib.loads((deployment.admin / "config.toml").read_text())["superlink"]["fedkd"]
    assert connection["root-certificates"] == str(deployment.superlink / "ca.crt")


@pytest.mark.parametrize("task", ["digits", 'npz:/data/it\'s 100 % "mine".npz', "npz:${HOME}}`id`\\x", "a:b\nc"])
def test_the_start_script_checks_for_the_task_as_it_is_spelt(tmp_path, task):
    script, show = tmp_path / "start.sh", tmp_path / "fedkd"
    script.write_text(scripts.supernode(0, "pi:8000", task))
    show.write_text('#!/bin/sh\nprintf %s "$8"; exit 1\n')  # deploy check --own … --state-dir … --task TASK
    show.chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    for extra, expected in (({}, task), ({"FEDKD_TASK": "other $x"}, "other $x")):
        done = subprocess.run(["/bin/sh", script], env=env | extra, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (1, expected, "")


def test_units_parse_and_keep_what_they_write_to_themselves(deployment):
    units = [*(deployment.folder / "systemd").iterdir(), deployment.node(0) / scripts.NODE_UNIT]
    assert len(units) == 4
    for path in units:
        unit = configparser.RawConfigParser(strict=False)  # Environment= may be repeated
        unit.optionxform = str
        unit.read_string(path.read_text())
        assert unit.sections() == ["Unit", "Service", "Install"]
        service = unit["Service"]
        assert (service["UMask"], service["StateDirectoryMode"], service["User"]) == ("0077", "0700", "fedkd")
        assert service["ExecStart"].startswith("/etc/fedkd/")


def test_nginx_hands_on_what_nodes_ask_for_and_nothing_else(deployment):
    lines = [line.split("#")[0].strip() for line in (deployment.folder / "nginx.conf").read_text().splitlines()]
    assert all(line[-1] in "{};" for line in lines if line)
    depth = np.cumsum([line.count("{") - line.count("}") for line in lines])
    assert depth.min() == 0 == depth[-1]
    locations = re.findall(r"location (\S+) \{([^}]*)\}", "\n".join(lines))
    assert [place for place, body in locations if "proxy_pass" in body] == ["/v1/fleet/"]
    assert [place for place, body in locations if body.strip() == "return 403;"] == ["/"]


@pytest.mark.parametrize(
    "task, message",
    [
        ("digts", "unknown task 'digts'"),
        ("npz:", "--task must say what after 'npz:'"),
        ("my tasks:f", "package.module:function, got 'my tasks:f'"),
        ("json:nothing", "module 'json' has no function 'nothing'"),
        ("npz:{here}", "not a readable .npz file"),
    ],
)
def test_a_deployment_for_a_task_that_nobody_knows_isnt_made(tmp_path, task, message):
    (tmp_path / "bad.npz").write_text("")
    task = task.format(here=tmp_path / "bad.npz")
    done = CliRunner().invoke(app, ["deploy", "init", str(tmp_path / "made"), "--nodes", "1", "--task", task])
    assert done.exit_code == 2
    assert message in done.output
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("task", ["npz:/none/here.npz", "hf:mnist", "nowhere.to_be_found:task"])
def test_a_task_that_isnt_on_this_machine_is_warned_of(tmp_path, task):
    done = CliRunner().invoke(app, ["deploy", "init", str(tmp_path / "made"), "--nodes", "1", "--task", task])
    assert done.exit_code == 0
    assert "here" in done.output or "no module 'nowhere'" in done.output
    assert "so that it wasn't checked; every machine needs it" in done.output
    assert (tmp_path / "made/nodes/0/start.sh").exists()


@pytest.fixture
def submitted(monkeypatch):
    """The configurations of runs that are submitted; Flower calls each of them completed."""
    seen = []

    def start(env, app_folder):
        app = tomllib.loads((app_folder / "pyproject.toml").read_text())["tool"]["flwr"]["app"]
        seen.append({"home": env["FLWR_HOME"], **app["config"]})
        return str(len(seen))

    monkeypatch.setattr(flower, "start", start)
    monkeypatch.setattr(flower, "wait_until_finished", lambda env, run, look: "finished:completed")
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
    submit(deployment.folder, {"rounds": 7}, out, False, True, quiet)
    assert [(c["rounds"], c["train"]["epochs"], c["resume"]) for c in submitted] == [(7, 3, True)] * 2
    with pytest.raises(InputError, match=r"rounds must be 7, as in .*config.toml, for a run to go on, got 8"):
        submit(deployment.folder, {"rounds": 8}, out, False, True, quiet)
    assert len(submitted) == 2


def test_a_run_that_failed_names_a_log_that_nobody_could_have_put_there(deployment, submitted, tmp_path, monkeypatch):
    monkeypatch.setattr(flower, "wait_until_finished", lambda env, run, look: "finished:failed")
    monkeypatch.setattr(flower, "log_of", lambda env, run: "error: out of luck\n")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(RunError, match=r"ended as finished:failed: error: out of luck \(log: (.*)\)") as error:
        submit(deployment.folder, {}, tmp_path / "run", False, False, Console(quiet=True))
    (log,) = tmp_path.glob("fedkd-run-1-*.log")
    assert str(log) in str(error.value)
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_flower_that_isnt_installed_here_is_named_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(flower, "_BIN", tmp_path)
    with pytest.raises(RunError, match=rf"{tmp_path}/flwr: no such command"):
        flower.start({}, tmp_path)
    assert flower.log_of({}, "1") == ""


def test_a_folder_is_written_whole_or_not_at_all(deployment, tmp_path):
    key = (deployment.node(0) / "node.key").read_bytes()
    with pytest.raises(InputError, match=r"exists; choose another folder"):
        write_deployment(deployment, False)
    assert (deployment.node(0) / "node.key").read_bytes() == key
    write_deployment(deployment, True)
    assert (deployment.node(0) / "node.key").read_bytes() != key
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious").write_text("")
    with pytest.raises(InputError, match=r"not the folder of a deployment"):
        write_deployment(Deployment(tmp_path / "mine", 1), True)
    with pytest.raises(InputError, match=r"--host must be a host name"):
        write_deployment(Deployment(tmp_path / "odd", 1, ("pi:8000/x",)), False)
    assert not list(tmp_path.glob(".*.tmp"))
    assert not (tmp_path / "odd").exists()


def test_the_app_needs_no_checkout_and_holds_the_runs_settings(tmp_path):
    write_app(tmp_path / "app", {"task": "digits", "train.epochs": 3, "out": "there"})
    app = tomllib.loads((tmp_path / "app/pyproject.toml").read_text())["tool"]["flwr"]["app"]
    assert app["config"] == {"task": "digits", "train": {"epochs": 3}, "out": "there"}
    for reference in app["components"].values():
        assert (tmp_path / "app" / (reference.split(":")[0].replace(".", "/") + ".py")).exists()
    assert {path.name for path in (tmp_path / "app").iterdir()} == {"fedkd", "clients", "server", "pyproject.toml"}
    assert {path.suffix for path in (tmp_path / "app").rglob("*") if path.is_file()} == {".py", ".toml"}


def test_what_a_process_started_ends_with_it_even_in_a_session_of_its_own(tmp_path):
    child = "import time; time.sleep(60)"
    code = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {child!r}], start_new_session=True).wait()"
    processes = Processes(tmp_path)
    processes.start("parent", [sys.executable, "-c", code], {})
    while len(processes.left()) < 2:
        processes.check()
    processes.stop()
    assert processes.left() == []


STUBBORN = """
import signal, subprocess, sys, time
from pathlib import Path
from sims.deploy import processes as module
from sims.deploy.signals import interruptible
module._PATIENCE = 2.0
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
processes = module.Processes(Path(sys.argv[1]))
try:
    with interruptible():
        try:
            processes.start("deaf", [sys.executable, "-c", deaf], {})
            while "deaf" not in processes.log("deaf").read_text():
                time.sleep(0.05)
            print("ready", flush=True)
            time.sleep(60)
        finally:
            print("stopping", flush=True)
            processes.stop()
except KeyboardInterrupt:
    print("left", processes.left(), flush=True)
"""


@pytest.mark.parametrize("first", [signal.SIGHUP, signal.SIGTERM])
def test_a_second_signal_doesnt_keep_what_ignores_sigterm_alive(tmp_path, first):
    command = [sys.executable, "-c", STUBBORN, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(first)
        assert process.stdout.readline() == "stopping\n"
        time.sleep(0.5)  # it is at it by now, for two seconds
        for again in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process.send_signal(again)
        assert process.communicate(timeout=30)[0] == "left []\n"
    assert process.returncode == 0


def test_a_hangup_that_nohup_ignores_stays_ignored():
    before, ends = signal.signal(signal.SIGHUP, signal.SIG_IGN), signal.getsignal(signal.SIGTERM)
    try:
        with interruptible():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        assert signal.getsignal(signal.SIGTERM) is ends
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_process_that_ended_is_named_with_its_last_words(tmp_path):
    processes = Processes(tmp_path)
    processes.start("node-0", ["/bin/sh", "-c", "echo 'error: no such file'; echo retrying in 3 s"], {})
    while processes.left():
        time.sleep(0.05)
    with pytest.raises(RunError, match=r"node-0 ended: error: no such file \(log: "):
        processes.check()


def test_flowers_own_words_are_preferred(tmp_path):
    (tmp_path / "log").write_text(
        "INFO: started\nERROR: Exit Code: 305\nFailed to connect.\n[code: 2001] who?\nerror\n"
    )
    assert last_words(tmp_path / "log") == "Failed to connect. [code: 2001] who?"


def test_a_node_checks_what_it_brings_before_it_starts(tmp_path):
    arguments = ["deploy", "check", "--own", str(tmp_path / "none.npz"), "--state-dir", str(tmp_path / "state")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "no such file; data=FILE.npz" in result.output
