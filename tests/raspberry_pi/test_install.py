"""Laws of the install script, with commands of a machine that isn't there in front of this one's."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

KIT = Path(__file__).parents[2] / "clients" / "raspberry_pi"
# A Raspberry Pi 4 with 4 GB: 4 KB pages, 20 GB of disk left, Python 3.11, a clock that is set.
PI = {
    "uname": "echo aarch64",
    "getconf": "case $1 in LONG_BIT) echo 64 ;; _PHYS_PAGES) echo 1000000 ;; PAGE_SIZE) echo 4096 ;; esac",
    "python3": "case $2 in *version_info*) echo 3.11 ;; esac",
    "df": 'echo head; echo "/dev/root 30000 10000 20000 33% /"',
    "timedatectl": "echo yes",
    "chronyc": "exit 1",
    "getent": "exit 2",
    "id": "echo 0",
    "useradd": "",
    "userdel": "",
    "chown": "",
    "systemctl": "",
}
LOGGED = ("useradd", "userdel", "chown", "systemctl", "python3")


@pytest.fixture
def machine(tmp_path):
    """Runs the script on the machine, with some of its commands replaced; None takes one away."""

    def run(*arguments, **changes):
        commands = tmp_path / "commands"
        shutil.rmtree(commands, ignore_errors=True)
        commands.mkdir()
        for name, body in {**PI, **changes}.items():
            if body is not None:
                logged = f'echo "{name} $*" >>"{tmp_path}/log"\n' if name in LOGGED else ""
                (commands / name).write_text(f"#!/bin/sh\n{logged}{body}\n")
                (commands / name).chmod(0o755)
        for name in ("sh", "awk", "cat", "dirname", "env", "grep", "install", "mkdir", "mv", "rm", "sleep", "touch"):
            (commands / name).symlink_to(str(shutil.which(name)))
        env = {"PATH": str(commands), "DESTDIR": str(tmp_path / "root")}
        return subprocess.run(
            [commands / "sh", KIT / "install.sh", *map(str, arguments)],
            env=env,
            capture_output=True,
            text=True,
            timeout=60,
        )

    (tmp_path / "root").mkdir()
    return run


@pytest.fixture
def node(tmp_path):
    """What `fedkd deploy init` writes for a node."""
    folder = tmp_path / "nodes" / "0"
    folder.mkdir(parents=True)
    for name in ("ca.crt", "node.key", "start.sh", "fedkd-supernode@.service", "data.npz"):
        (folder / name).write_text(name)
    return folder


def test_a_machine_that_has_all_may_be_either(machine):
    for role in ("client", "device"):
        done = machine("check", role)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"this machine can be a {role}\n", "")


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"uname": "echo armv7l"}, "error: the processor must be aarch64, got armv7l"),
        ({"getconf": PI["getconf"].replace("echo 64", "echo 32")}, "error: the system is 32-bit on a 64-bit processor"),
        ({"python3": "case $2 in *version_info*) echo 3.9 ;; esac"}, "error: Python must be 3.11 or newer, got 3.9"),
        ({"python3": "case $2 in *version_info*) echo 3.14 ;; esac"}, "error: Python must be 3.13 or older, got 3.14"),
        ({"python3": "case $2 in *version_info*) echo 3.11 ;; *) exit 1 ;; esac"}, "error: Python's venv is missing"),
        ({"python3": None}, "error: python3 is missing"),
        ({"getconf": PI["getconf"].replace("1000000", "99000")}, "error: a client needs 400 MB of memory, this"),
        ({"df": 'echo head; echo "/dev/root 30000 29400 600 98% /"'}, "error: a client needs 700 MB of disk"),
        ({"timedatectl": "echo no"}, "error: the clock isn't set by NTP"),
        ({"timedatectl": None, "chronyc": "echo 'Leap status     : Not synchronised'"}, "error: the clock isn't set"),
        ({"systemctl": None}, "error: systemctl is missing"),
    ],
)  # fmt: skip
def test_what_a_machine_lacks_is_one_line(machine, tmp_path, node, changes, said):
    for arguments in (("check", "client"), ("client", "--node", node)):
        done = machine(*arguments, **changes)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert line.startswith(said)
        assert list((tmp_path / "root").iterdir()) == []


def test_a_small_board_trains_by_a_file_and_only_a_large_one_by_tensorflow(machine, tmp_path, node):
    small = PI["getconf"].replace("1000000", "107000")  # what a Zero 2 W has left of its 512 MB
    assert machine("check", "client", getconf=small).returncode == 0
    done = machine("check", "client", "--tensorflow", getconf=small)
    assert (done.returncode, done.stderr.split(", this")[0]) == (2, "error: a client needs 1700 MB of memory")
    plans = [machine("client", "--node", node, "--dry-run", *more).stdout for more in ([], ["--tensorflow"])]
    sources = [next(line for line in plan.splitlines() if "pip install" in line).split()[-1] for plan in plans]
    assert [Path(source).resolve() for source in sources] == [KIT.parent / "node", KIT.parents[1]]


def test_chrony_may_set_the_clock(machine):
    assert machine("check", "client", timedatectl="echo no", chronyc="echo 'Leap status     : Normal'").returncode == 0


def test_a_dry_run_prints_and_does_nothing(machine, tmp_path, node):
    done = machine("client", "--node", node, "--dry-run", id="echo 1000")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert any("-m pip install" in line and "--only-binary=:all:" in line for line in lines)
    assert lines[-2] == "+ systemctl restart fedkd-node.service"
    assert list((tmp_path / "root").iterdir()) == []
    assert {line.split()[0] for line in (tmp_path / "log").read_text().splitlines()} == {"python3"}  # the checks


NOTHING = dict.fromkeys(("systemctl", "getconf", "python3", "df", "timedatectl", "chronyc", "getent", "id"))


@pytest.mark.parametrize("role", ["client", "device"])
def test_the_plan_is_printed_on_any_machine_and_nothing_is_done(machine, tmp_path, node, role):
    """A laptop without root, systemd, the right processor, or even Python: what it lacks is a note beside the plan."""
    (tmp_path / "1.root.json").write_text("root")
    asked = {"client": ["--node", node], "device": ["--hub", "h:1", "--root", tmp_path / "1.root.json"]}[role]
    before = {path: path.read_bytes() for path in (tmp_path / "nodes").rglob("*") if path.is_file()}
    done = machine(role, *asked, "--dry-run", uname="echo x86_64", **NOTHING)
    assert done.returncode == 0, done.stderr
    plan, notes = done.stdout.splitlines(), done.stderr.splitlines()
    assert plan.pop() == "nothing was done"
    assert all(line.startswith("+ ") for line in plan)
    for step in ("useradd --system", "-m pip install", "/etc/fedkd/", "systemctl daemon-reload", "systemctl restart"):
        assert any(step in line for line in plan), step
    assert all(line.startswith("note: this machine would be refused: ") for line in notes)
    for lack in ("aarch64, got x86_64", "systemctl is missing", "python3 is missing", "of memory", "of disk", "NTP"):
        assert sum(lack in line for line in notes) == 1, lack
    assert list((tmp_path / "root").iterdir()) == []
    assert before == {path: path.read_bytes() for path in (tmp_path / "nodes").rglob("*") if path.is_file()}
    assert not (tmp_path / "log").exists()


def test_a_dry_run_of_uninstall_removes_nothing(machine, tmp_path):
    kept = tmp_path / "root/opt/fedkd/ready"
    kept.parent.mkdir(parents=True)
    kept.touch()
    done = machine("uninstall", "--purge", "--dry-run", uname="echo x86_64", **NOTHING)
    assert done.returncode == 0, done.stderr
    assert any(line.startswith("+ rm -rf ") and "/opt/fedkd" in line for line in done.stdout.splitlines())
    assert kept.exists()


def test_a_check_is_never_dry(machine):
    done = machine("check", "client", "--dry-run", uname="echo armv7l")
    assert (done.returncode, done.stderr.startswith("error: the processor must be aarch64")) == (2, True)


def makes_a_venv(tmp_path):
    """A python3 whose `-m venv` makes one with a Python that takes whatever it is told."""
    pip = tmp_path / "pip"
    pip.write_text(f'#!/bin/sh\necho "pip $*" >>"{tmp_path}/log"\n')
    pip.chmod(0o755)
    venv = f'if [ "$1 $2" = "-m venv" ]; then mkdir -p "$4/bin" && install -m 755 "{pip}" "$4/bin/python"; fi'
    return f"{venv}\n{PI['python3']}"


def test_a_client_is_installed_and_again(machine, tmp_path, node):
    for _ in range(2):
        done = machine("client", "--node", node, python3=makes_a_venv(tmp_path))
        assert done.returncode == 0, done.stderr
        root = tmp_path / "root"
        held = root / "etc" / "fedkd" / "node"
        assert {p.name for p in held.iterdir()} == {"ca.crt", "node.key", "start.sh", "data.npz"}
        assert {p.name: mode(p) for p in held.iterdir() if "." in p.name} | {"": mode(held)} == {
            "ca.crt": 0o640, "node.key": 0o640, "data.npz": 0o640, "start.sh": 0o750, "": 0o750,
        }  # fmt: skip
        assert (root / "etc/systemd/system/fedkd-node.service").read_text() == (KIT / "fedkd-node.service").read_text()
        assert os.access(root / "opt/fedkd/bin/fedkd-time-sync", os.X_OK)
        assert not (root / "opt/fedkd/tmp").exists()
    log = (tmp_path / "log").read_text()
    assert log.count("-m venv") == 1
    assert log.count("systemctl restart fedkd-node.service") == 2
    assert "useradd --system" in log


def test_a_device_is_installed_and_goes_and_its_models_stay(machine, tmp_path):
    (tmp_path / "1.root.json").write_text("root")
    (tmp_path / "hub.crt").write_text("ca")
    asked = ["device", "--hub", "hub.example:8443", "--root", tmp_path / "1.root.json", "--ca", tmp_path / "hub.crt"]
    done = machine(*asked, python3=makes_a_venv(tmp_path))
    assert done.returncode == 0, done.stderr
    root = tmp_path / "root"
    written = (root / "etc/fedkd/device/hub.env").read_text()
    assert written == "FEDKD_HUB=hub.example:8443\nFEDKD_CA=--ca /etc/fedkd/device/ca.crt\n"
    assert "systemctl enable fedkd-device.timer" in (tmp_path / "log").read_text()
    (root / "var/lib/fedkd/device").mkdir(parents=True)

    assert machine("uninstall").returncode == 0
    assert list((root / "opt").iterdir()) == list((root / "etc/systemd/system").iterdir()) == []
    assert (root / "var/lib/fedkd/device").is_dir()
    assert (root / "etc/fedkd/device/root.json").exists()
    assert machine("uninstall", "--purge", getent="exit 0").returncode == 0
    assert not (root / "etc/fedkd").exists()
    assert not (root / "var/lib/fedkd").exists()
    assert "userdel fedkd" in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["client"], "error: client takes --node DIR"),
        (["client", "--node", "/nowhere"], "error: /nowhere has no start.sh"),
        (["device", "--root", "/nowhere"], "error: device takes --hub"),
        (["device", "--hub", "a b", "--root", "x"], "error: --hub must be HOST:PORT or a URL, got 'a b'"),
        (["device", "--hub", "h:1", "--root", "/nowhere"], "error: /nowhere: no such file"),
        (["device", "--hub"], "error: --hub takes a value"),
        (["check", "server"], "error: check takes client or device, got 'server'"),
        (["instal"], "error: unknown command 'instal'"),
        (["client", "--nodes", "x"], "error: unknown option --nodes"),
    ],
)
def test_a_wrong_command_line_is_one_line(machine, arguments, said):
    done = machine(*arguments)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert done.stderr.startswith(said)


def test_only_root_installs(machine, node):
    done = machine("client", "--node", node, id="echo 1000")
    assert (done.returncode, "must be run as root" in done.stderr) == (2, True)


def test_the_clock_is_waited_for(machine, tmp_path):
    machine("check", "client")  # makes the commands
    commands, mark = tmp_path / "commands", tmp_path / "asked"
    (commands / "sleep").unlink()
    (commands / "sleep").symlink_to("/bin/true")
    (commands / "timedatectl").write_text(f'#!/bin/sh\necho x >>"{mark}"\n[ "$(wc -l <"{mark}")" -lt 3 ] || echo yes\n')
    (commands / "wc").symlink_to(str(shutil.which("wc")))
    for seconds, code in (("2", 1), ("60", 0)):
        mark.unlink(missing_ok=True)
        done = subprocess.run(
            [commands / "sh", KIT / "time_sync.sh", seconds], env={"PATH": str(commands)}, capture_output=True
        )
        assert done.returncode == code


@pytest.mark.parametrize("name", ["install.sh", "time_sync.sh"])
def test_scripts_are_plain_sh(name):
    assert (KIT / name).read_text().startswith("#!/bin/sh\n")
    assert os.access(KIT / name, os.X_OK)
    subprocess.run(["sh", "-n", KIT / name], check=True)
    if (checker := shutil.which("shellcheck")) is not None:
        subprocess.run([checker, "--shell=sh", KIT / name], check=True)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)
