"""Laws of run folders from before tasks owned their metrics: they open, and show what they always showed."""

import json
import re
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from fedkd.objectives.metric import ACCURACY, F1
from fedkd.results.run_folder import read
from fedkd.results.summary import Summary
from sims.progress import State, Tail
from sims.report.compare import comparison, figures
from sims.report.page import write_report
from sims.report.plots import Series, quality_by_round
from sims.report.show import show_report
from tests.report.old import write_old


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sims.report.html.RESOLUTION", 40)


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return write_old(tmp_path / "old")


def test_its_metrics_are_accuracy_and_f1(old: Path) -> None:
    run = read(old)
    assert list(run.metrics) == [ACCURACY, F1]
    assert (run.shared_figure(ACCURACY), run.shared_figure(F1), run.quality.baseline) == (0.8, 0.75, 0.1)
    assert Series("old", (run,)).quality(F1).tolist() == [pytest.approx([19, 38, 57, 75])]


def test_its_page_leads_with_the_same_figures(old: Path) -> None:
    page = write_report(old).read_text()
    tiles = re.findall(r'<dt>(.*?)</dt><dd class="figure">(.*?)</dd><dd>(.*?)</dd>', page)
    assert tiles == [
        ("Student (shared)", "80.0 %", "accuracy before finishing, F1 0.750"),
        ("Teachers, mean", "90.0 %", "± 2.0 over clients"),
        ("Traffic of a client", "8.00 kB", "95.0 % less than FedAvg of the teacher"),
        ("int8 file", "3.00 kB", "79.0 % accurate, 1.00 kB in gzip"),
    ]
    assert "Accuracy after each round; teachers stay with their clients, measured now and then." in page


def test_its_closing_table_says_the_same(old: Path) -> None:
    console = Console(file=StringIO(), width=100)
    show_report(old, console)
    lines = [line.strip() for line in console.file.getvalue().splitlines()]  # type: ignore[attr-defined]
    assert lines[:3] == [
        "old: fedkd on digits, 2 clients, 3 + 1 rounds",
        "Quality  student 80.0 % · F1 0.750 · teachers 90.0 % ± 2.0, F1 0.700",
        "always the largest class 10.0 %",
    ]


def test_it_is_compared_with_others_as_before(old: Path, tmp_path: Path) -> None:
    """Of a run that stopped F1 isn't known, and the other figures are the last it measured."""
    assert figures(comparison([old, write_old(tmp_path / "cut", rounds=2)])) == [
        ("accuracy, %", "F1, %", "teachers, %", "MB a client", "rounds", "seconds", "seeds"),
        ("80.00", "75.00", "90.00", "0.00800", "4", "8", "1"),
        ("40.00", "–", "50.00", "0.00400", "2 of 4", "–", "1"),
    ]


def test_its_picture_has_the_same_curves(old: Path) -> None:
    axes = quality_by_round(read(old)).axes[0]
    assert axes.get_ylabel() == "Accuracy, %"
    curves = {str(line.get_label()): np.asarray(line.get_ydata(), float).tolist() for line in axes.lines}
    assert curves == {
        "Student (shared)": pytest.approx([20, 40, 60, 80]),
        "Teachers ± std": pytest.approx([50, 90]),
        "Majority class": pytest.approx([10, 10]),
    }


def test_it_is_watched_as_before(old: Path) -> None:
    state = State(Tail(old / "history.jsonl"), 4)
    list(state.news())
    assert state.figures() == "student 80.0 % · teachers 90.0 % · up 12.0 kB · down 4.00 kB"


def test_its_summary_in_todays_words_says_the_same(old: Path) -> None:
    """Written again, it has the keys of today, and opens as before."""
    held = read(old).summary
    assert held is not None
    again = held.to_json()
    assert (again["quality"]["baseline"], again["others"]) == (0.1, {"f1": {"shared": 0.75, "teacher_mean": 0.7}})
    assert Summary.from_json(json.loads(json.dumps(again))) == held
