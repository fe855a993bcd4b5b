"""Laws of what a deployment is made of."""

import datetime
import stat
import subprocess
import sys
import time
import tomllib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key
from typer.testing import CliRunner

from fedkd.errors import InputError, RunError
from sims.cli import app
from sims.deploy.app_folder import write_app
from sims.deploy.folder import Deployment, write_deployment
from sims.deploy.keys import VALID_DAYS
from sims.deploy.processes import Processes, last_words


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
