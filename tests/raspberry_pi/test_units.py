"""Laws of the services of the kit."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

KIT = Path(__file__).parents[2] / "clients" / "raspberry_pi"
SERVICES = ("fedkd-node.service", "fedkd-device.service")


def settings(name):
    """Each key of a unit with its values, in order."""
    found = {}
    for line in (KIT / name).read_text().splitlines():
        if line and line[0] not in "#[":
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_may_write_its_state_and_nothing_else(name):
    held = settings(name)
    assert held["User"] == ["fedkd"]
    assert (held["NoNewPrivileges"], held["ProtectSystem"], held["ProtectHome"]) == (["yes"], ["strict"], ["yes"])
    assert held["CapabilityBoundingSet"] == [""]
    assert held["StateDirectory"][0].split()[0] == "fedkd"
    assert not {"ReadWritePaths", "ProcSubset"} & set(held)


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_for_the_clock_shorter_than_systemd_waits_for_it(name):
    held = settings(name)
    (wait,) = held["ExecStartPre"]
    seconds = int(wait.split("fedkd-time-sync ")[1])
    limit = re.fullmatch(r"(\d+)(min)?", held["TimeoutStartSec"][0])
    assert seconds < int(limit[1]) * (60 if limit[2] else 1)
    assert held["Restart"] == ["on-failure"]


def test_services_name_files_that_the_script_installs():
    script = (KIT / "install.sh").read_text()
    for name in (*SERVICES, "fedkd-device.timer"):
        assert f"unit {name}\n" in script
    assert "/etc/fedkd/node/start.sh" in settings("fedkd-node.service")["ExecStart"][0]
    assert settings("fedkd-node.service")["Environment"][1] == "FEDKD_STATE=/var/lib/fedkd/node"
    started = settings("fedkd-device.service")["ExecStart"][0]
    assert started.startswith("/opt/fedkd-device/bin/fedkd-device run --once ")
    assert "--root /etc/fedkd/device/root.json" in started


def test_devices_do_not_ask_at_the_same_instant():
    assert settings("fedkd-device.timer")["RandomizedDelaySec"] == ["10min"]


def test_systemd_takes_the_units(tmp_path):
    """The commands are a Pi's, so others stand in for them."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    for path in KIT.glob("fedkd-*"):
        text = re.sub(r"^(ExecStart(Pre)?)=.*$", r"\1=/bin/true", path.read_text(), flags=re.M)
        (tmp_path / path.name).write_text(text)
    units = sorted(map(str, tmp_path.iterdir()))
    assert len(units) == 3
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
