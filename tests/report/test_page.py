"""Laws of the report's page, and of the files beside it."""

import re
from pathlib import Path
from typing import Any

import pytest

from sims.report.page import write_report
from tests.report.pages import assert_needs_nothing_from_outside
from tests.report.runs import lines

PICTURES = ("quality_by_round", "quality_by_megabytes", "ranks_heatmap", "partition_picture", "device_files")


def test_the_page_needs_nothing_from_outside(finished: Path) -> None:
    assert_needs_nothing_from_outside((finished / "report.html").read_text(), len(PICTURES))


def test_the_page_escapes_every_text_of_the_user(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 5  # title, heading, failed file, refused update, configuration


def test_the_page_says_what_sparsity_is_good_for(finished: Path) -> None:
    page = " ".join((finished / "report.html").read_text().split())
    assert "pays only in gzip and over-the-air size; it does not lower a device's latency" in page


def test_the_page_leads_with_student_teachers_traffic_and_int8(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert re.findall(r'<dd class="figure">(.*?)</dd>', page) == ["80.0 %", "90.0 %", "8.00 kB", "3.00 kB"]
    assert "95.0 % less than FedAvg of the teacher" in page


def test_every_picture_is_a_file_too_and_nothing_temporary_stays(finished: Path) -> None:
    written = {path.name for path in finished.iterdir()}
    inputs = {"history.jsonl", "config.toml", "summary.json", "partition.json"}
    assert written == inputs | {"report.html"} | {f"{name}.png" for name in PICTURES}
    assert all((finished / f"{name}.png").read_bytes().startswith(b"\x89PNG") for name in PICTURES)


def test_a_page_of_an_interrupted_run_says_so_and_shows_what_there_is(interrupted: Path) -> None:
    page = (interrupted / "report.html").read_text()
    assert "interrupted after round 2 of 4" in page
    assert re.findall(r'<dd class="figure">(.*?)</dd>', page) == ["40.0 %", "50.0 %", "4.00 kB"]
    assert {path.stem for path in interrupted.glob("*.png")} == {"quality_by_round", "quality_by_megabytes"}


def test_a_run_without_a_single_round_still_has_a_page(tmp_path: Path) -> None:
    page = write_report(lines(tmp_path, '{"round": 1, "rou')).read_text()
    assert "interrupted before its first round ended" in page


def test_a_page_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = lines(tmp_path, "")
    write_report(run).write_text("old")

    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("fedkd.base.files.os.replace", full)
    with pytest.raises(OSError, match="no space"):
        write_report(run)
    assert (run / "report.html").read_text() == "old"
    assert {path.name for path in run.iterdir()} == {"report.html", "history.jsonl"}
