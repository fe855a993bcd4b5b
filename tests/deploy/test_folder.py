"""Laws of the folder that a deployment is: certificates, keys, scripts, units."""

import configparser
import datetime
import os
import re
import stat
import subprocess
import tomllib

import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key
from typer.testing import CliRunner

from fedkd.base.errors import InputError
from server.certificates import VALID_DAYS
from sims.cli import app
from sims.deploy import scripts
from sims.deploy.folder import Deployment, write_deployment


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


def test_the_start_script_says_the_class_of_the_node(tmp_path):
    script = tmp_path / "start.sh"
    script.write_text(scripts.supernode(0, "pi:8000", "digits"))
    for name, text in (("fedkd-node", ""), ("flower-supernode", 'for last; do :; done; printf %s "$last"\n')):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}")
        (tmp_path / name).chmod(0o755)
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "FEDKD_STATE": str(tmp_path), "FEDKD_ENGINE": "litert"}
    for extra, said in (({}, "class=''"), ({"FEDKD_CLASS": "zero"}, "class='zero'")):
        done = subprocess.run(["/bin/sh", script], env=env | extra, capture_output=True, text=True, check=True)
        assert done.stdout.split()[-1] == said


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


def test_a_node_checks_what_it_brings_before_it_starts(tmp_path):
    arguments = ["deploy", "check", "--own", str(tmp_path / "none.npz"), "--state-dir", str(tmp_path / "state")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert "no such file; data=FILE.npz" in result.output
