"""Laws of the table that closes a run."""

import re
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from fedkd.objectives.metric import ACCURACY, F1
from fedkd.results.summary import Summary
from sims.report.table import percent, saving, size, summary_table
from tests.report.runs import a_summary


def printed(summary: Summary) -> str:
    """What the closing table puts on a terminal of 80 columns."""
    console = Console(file=StringIO(), width=80)
    console.print(summary_table(summary, Path("runs/mine/report.html")))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_closing_table_fits_80_columns_and_takes_no_markup() -> None:
    text = printed(a_summary(name="[red]" + 90 * "x"))
    assert max(map(len, text.splitlines())) <= 80
    assert "[red]x" in text


def test_the_closing_table_has_quality_traffic_files_hash_and_report() -> None:
    both = [ACCURACY.to_json(), F1.to_json()]
    text = printed(a_summary(name="mine", metrics=both, others={"f1": {"shared": 0.75, "teacher_mean": 0.7}}))
    for part in (
        "student 80.0 %",
        "teachers 90.0 % ± 2.0, F1 0.700",
        "F1 0.750",
        "6.00 kB up + 2.00 kB down",
        "3 + 1 rounds",
    ):
        assert part in text
    for part in ("95.0 % less (teacher), 50.0 % less (student)", "int8, 80 % sparse", "int16x8 failed"):
        assert part in text
    assert re.search(r"sha256 0123456789ab\s", text)
    assert str(Path("runs/mine/report.html")) in text


def test_a_method_without_teachers_prints_none() -> None:
    text = printed(a_summary(name="plain", quality={"shared": 0.8}, edge=[]))
    assert "shared model 80.0 %" in text
    assert "teachers" not in text


def test_figures_read_as_a_person_writes_them() -> None:
    assert [size(count) for count in (None, 999, 1000, 9996, 999_600, 12_345_678_901)] == [
        "–", "999 B", "1.00 kB", "10.0 kB", "1.00 MB", "12.3 GB",
    ]  # fmt: skip
    assert percent(0.12345, digits=2) == "12.35 %"


def test_a_run_that_takes_more_than_fedavg_says_more() -> None:
    traffic = {"up_bytes_per_client": 100, "down_bytes_per_client": 50, "dense_student_bytes_per_client": 100}
    assert saving(traffic, "student") == "50.0 % more"
    assert saving(traffic, "teacher") == "–"


@pytest.mark.parametrize(
    "shared, line",
    [
        ("student", "Student  4,000 parameters"),
        ("teacher", "Teacher  40,000 parameters"),
        (None, "Student  4,000 param"),
    ],
)
def test_a_shared_model_is_called_what_it_is(shared: str | None, line: str) -> None:
    assert line in printed(a_summary(shared=shared))


def test_a_run_that_shares_nothing_names_no_shared_model() -> None:
    assert "parameters" not in printed(a_summary(shared="none"))


def test_a_file_that_loses_too_much_is_named_again_below_the_table() -> None:
    rows = [{"path": "q.tflite", "precision": "int8", "flash_bytes": 9, "quality": {"litert": 0.5}, "warning": "falls"}]
    text = printed(a_summary(edge=rows))
    assert "int8, not to be used: falls" in text
    assert text.count("not to be used") == 2
