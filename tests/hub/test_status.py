"""Laws of who runs which version: the last report of each device, whoever it is and however many there are."""

import json
import time

import pytest
from typer.testing import CliRunner

from server.hub.reports import Reports
from server.hub.status import devices, groups, urgent_first
from sims.cli import app
from tests.device.hubs import hub
from tests.device.models import release

NEWEST = {"default": 3}


def report(folder, device, version=3, ago=0.0, channel="default", failure="", largest=1 << 20):
    kept = Reports(folder / "reports.jsonl", clock=lambda: time.time() - ago, largest=largest)
    fields = {"channel": channel, "version": version, "latency_ms": 1.0, "agreement": 1.0, "failure": failure}
    assert kept.keep(device, "peer", fields)


def status(folder, *arguments):
    return CliRunner().invoke(app, ["hub", "status", str(folder), *map(str, arguments)], env={"COLUMNS": "120"})


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return hub(tmp_path_factory.mktemp("hub") / "hub", release(1, (1, 0, 0)), release(2, (0, 1, 0)), now=None).folder


@pytest.fixture
def served(published):
    yield published
    for file in published.glob("reports.jsonl*"):
        file.unlink()


def test_the_last_report_of_a_device_counts_also_from_the_file_before(tmp_path):
    report(tmp_path, "a", 1, ago=300)
    report(tmp_path, "b", 2, ago=200)
    report(tmp_path, "a", 3, ago=100, largest=1)  # the file is full, and becomes the one before
    assert (tmp_path / "reports.jsonl.1").exists()
    assert {name: device.version for name, device in devices(tmp_path / "reports.jsonl").items()} == {"a": 3, "b": 2}


@pytest.mark.parametrize(
    "version, channel, failure, state",
    [
        (3, "default", "", "up to date"),
        (2, "default", "", "behind"),
        (4, "default", "", "ahead"),
        (1, "gone", "", "ahead"),
        (0, "", "", "no model"),
        (3, "default", "model died", "failed"),
        (0, "", "no update: timeout", "failed"),
    ],
)
def test_states(tmp_path, version, channel, failure, state):
    report(tmp_path, "a", version, channel=channel, failure=failure)
    assert devices(tmp_path / "reports.jsonl")["a"].state(NEWEST) == state


def test_lines_that_are_no_reports_count_for_nothing(tmp_path):
    report(tmp_path, "a")
    whole = (tmp_path / "reports.jsonl").read_text()
    strange = ["[]", "7", "null", '{"time": 1}', whole.replace("3", '"x"', 9).strip(), "\x00\xff", whole[:40]]
    (tmp_path / "reports.jsonl").write_text("\n".join([whole.strip(), *strange]))
    assert list(devices(tmp_path / "reports.jsonl")) == ["a"]


def test_versions_are_counted_and_those_that_failed_come_first(tmp_path):
    for number in range(4):
        report(tmp_path, f"fine{number}", 3, ago=number)
    report(tmp_path, "late", 2, ago=5)
    report(tmp_path, "broken", 2, ago=500, failure="model died")
    found = devices(tmp_path / "reports.jsonl").values()
    counted = [(group.channel, group.version, group.devices, group.failed) for group in groups(found)]
    assert counted == [("default", 3, 4, 0), ("default", 2, 2, 1)]
    assert [device.name for device in urgent_first(found, NEWEST)] == [
        "broken",
        "late",
        *(f"fine{n}" for n in range(4)),
    ]


def test_no_device_and_no_hub_are_said(served, tmp_path):
    done = status(served)
    assert (done.exit_code, "published: default version 2" in done.output) == (0, True)
    assert "no device has reported" in done.output
    done = status(tmp_path)
    assert (done.exit_code, done.output.count("\n"), "no TUF repository" in done.output) == (2, 1, True)


def test_a_table_of_devices_with_times_in_words(served):
    report(served, "kitchen", 2, ago=200)
    report(served, "attic", 1, ago=90000, failure="no update: the hub is too slow")
    done = status(served)
    assert done.exit_code == 0
    lines = [" ".join(line.split()) for line in done.output.splitlines()]
    assert "default 2 (newest) 1 0 3 minutes ago" in lines
    assert "default 1 1 1 1 day ago" in lines
    assert "attic default 1 1 day ago failed: no update: the hub is too slow" in lines
    assert "kitchen default 2 3 minutes ago up to date" in lines
    assert lines.index("kitchen default 2 3 minutes ago up to date") > lines.index(
        "attic default 1 1 day ago failed: no update: the hub is too slow"
    )


def test_thousands_of_devices_are_a_summary_and_a_few_lines(served):
    row = {"channel": "default", "latency_ms": 1.0, "agreement": 1.0, "failure": "", "peer": "p"}
    lines = (json.dumps({**row, "time": float(n), "device": f"d{n}", "version": 1 + n % 2}) for n in range(5000))
    (served / "reports.jsonl").write_text("\n".join(lines))
    begun = time.monotonic()
    done = status(served)
    assert time.monotonic() - begun < 10
    assert done.output.count("2,500") == 2
    assert "20 of 5,000 devices; --limit 0 lists all" in done.output
    assert len(done.output.splitlines()) < 40
    assert status(served, "--limit", 3).output.count(" behind") == 3
    assert len(status(served, "--limit", 0).output.splitlines()) > 5000


def test_a_strangers_name_moves_no_cursor_and_versions_are_without_number(served):
    report(served, "\x1b[2J[bold]x\nfedkd", failure="\x1b]0;title\x07")
    for number in range(3, 60):
        report(served, f"d{number}", number)
    done = status(served)
    assert "\x1b" not in done.output
    assert "?[2J[bold]x?fedkd" in done.output
    assert any(line.split()[:1] == ["others"] for line in done.output.splitlines())
