"""Laws of what devices report: it is kept, and a flood of it costs little."""

import json

from server.hub import reports
from server.hub.reports import A_MINUTE_EACH, Reports


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_report_is_a_line_whose_texts_are_short_and_whose_numbers_are_finite(tmp_path):
    kept = Reports(tmp_path / "r.jsonl", clock=lambda: 60.0)
    assert kept.keep("d", "peer", {"failure": "x\n" * 1000, "latency_ms": float("nan"), "version": 3})
    (row,) = rows(tmp_path / "r.jsonl")
    assert row == {
        "time": 60.0,
        "device": "d",
        "peer": "peer",
        "failure": "x\n" * 150,
        "latency_ms": None,
        "version": 3,
    }


def test_a_device_and_all_of_them_have_so_many_a_minute(tmp_path, monkeypatch):
    monkeypatch.setattr(reports, "A_MINUTE", 30)
    now = [0.0]
    kept = Reports(tmp_path / "r.jsonl", clock=lambda: now[0])
    assert [kept.keep("d", "", {}) for _ in range(A_MINUTE_EACH + 1)] == [True] * A_MINUTE_EACH + [False]
    assert sum(kept.keep(str(device), "", {}) for device in range(30)) == 30 - A_MINUTE_EACH
    now[0] = 60.0
    assert kept.keep("d", "", {})


def test_a_full_file_makes_room_for_the_next(tmp_path):
    path = tmp_path / "r.jsonl"
    kept = Reports(path, clock=lambda: 0.0, largest=1)
    for version in (1, 2, 3):
        kept.keep("d", "", {"version": version})
    assert [row["version"] for row in rows(path)] == [3]
    assert [row["version"] for row in rows(tmp_path / "r.jsonl.1")] == [2]
