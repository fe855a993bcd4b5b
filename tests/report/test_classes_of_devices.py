"""Laws of what reports say of classes of devices."""

from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from fedkd.base.errors import InputError
from fedkd.objectives.metric import ACCURACY
from fedkd.results.class_figures import ClassFigures, over_rounds
from fedkd.results.round import Round
from fedkd.results.run_folder import read
from fedkd.results.summary import Summary
from sims.report.class_rows import class_rows
from sims.report.page import write_report
from sims.report.table import summary_table
from tests.report.runs import a_round, a_summary_file, write

HELD = {"": ClassFigures(2, 0.9, 0.8, 0.7, 1.5), "zero": ClassFigures(1, None, None, 0.0, 0.5)}
JSON = {name: vars(held) for name, held in HELD.items()}


def printed(summary: Summary) -> str:
    console = Console(file=StringIO(), width=80)
    console.print(summary_table(summary))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_figures_of_classes_are_read_as_they_were_written() -> None:
    ended = Round(1, 2, "train", shared={"accuracy": 0.5}, by_class=HELD)
    assert Round.from_json(ended.to_json()).by_class == HELD
    assert Summary.from_json(Summary(by_class=HELD, metrics=[ACCURACY]).to_json()).by_class == HELD


def test_a_run_without_classes_says_nothing_of_them(tmp_path: Path) -> None:
    assert "by_class" not in {**Round(1, 2, "train").to_json(), **Summary().to_json()}
    page = write_report(write(tmp_path, [a_round(n) for n in range(1, 5)], a_summary_file())).read_text()
    assert "Classes of devices" not in page
    assert class_rows({}, ACCURACY) == []


def test_a_run_has_the_quality_of_its_last_round_and_the_seconds_of_all() -> None:
    before = {"zero": ClassFigures(1, seconds=1.5)}
    assert over_rounds(HELD, [before, HELD, {}])["zero"] == ClassFigures(1, None, None, 0.0, 1.0)


def test_the_table_and_the_page_have_a_row_for_each_class(tmp_path: Path) -> None:
    rows = class_rows(HELD, ACCURACY)
    assert rows[1] == ("(no class)", "2", "90.0 %", "80.0 %", "70.0 %", "1.5")
    assert rows[2] == ("zero", "1", "–", "–", "0.0 %", "0.5")
    run = write(tmp_path, [a_round(n) for n in range(1, 5)], a_summary_file(by_class=JSON))
    page = write_report(run).read_text()
    assert "Classes of devices" in page
    assert "<td>zero</td>" in page
    summary = read(run).summary
    assert summary is not None
    text = printed(summary)
    assert "zero" in text
    assert "(no class)" in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_run_that_was_interrupted_shows_what_it_measured_last(tmp_path: Path) -> None:
    unmeasured = {name: {**figures, "shared_personal": None} for name, figures in JSON.items()}
    rows = [a_round(1, by_class=JSON), a_round(2, by_class=unmeasured)]
    assert read(write(tmp_path, rows, None)).by_class == HELD


def test_a_figure_that_is_no_number_is_named() -> None:
    row = {**a_round(1), "by_class": {"zero": {"seconds": "long"}}}
    with pytest.raises(InputError, match="seconds must be a number, got 'long'"):
        Round.from_json(row, "history.jsonl:1")
