"""Laws of what a run's page says of clients, updates, losses and classes that are taken for others."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fedkd.base.errors import InputError
from fedkd.objectives.metric import ACCURACY
from fedkd.results.confusion import Confusion
from fedkd.results.run_folder import read
from sims.report.page import write_report
from sims.report.plots import Series, client_quality, confusion_matrix, frontier, loss_by_round, update_norms
from sims.report.plots.closer import closer
from sims.report.plots.confusion import MOST
from sims.report.rows import client_rows, norm_rows
from tests.report.runs import NASTY, a_round, a_summary_file, write


def a_run(folder: Path, **changes: Any) -> Path:
    """Four rounds: client 7's update of 1e28 is refused in the third, client 4's is 9 times the median in round 2."""
    rows = []
    for number in range(1, 5):
        clients = {"examples": [40, 60], "up_bytes": [2000, 1000], "down_bytes": [500, 500], "norm": [1.0, 0.5]}
        clients |= {"teacher_accuracy": [0.25 * number, 0.5]} if number % 2 == 0 else {}
        norms = {"min": 0.5, "median": 1.0, "max": 9.0 if number == 2 else 1.2, "largest": 4}
        refused = [{"client": 7, "node": 9, "reason": "norm", "why": NASTY, "norm": 1e28}] if number == 3 else []
        loss = {"student": 2.0 / number, "teacher": 1.0 / number}
        rows.append(a_round(number, participants=[0, 4], clients=clients, norms=norms, refused=refused, loss=loss))
    return write(folder, rows, a_summary_file(), **changes)


def texts(figure: Any) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_a_client_has_sums_of_bytes_and_the_last_of_its_quality(tmp_path: Path) -> None:
    run = read(a_run(tmp_path / "run"))
    assert run.client_figures()[0] == {
        "rounds": 4, "refused": 0, "examples": 40, "up_bytes": 8000, "down_bytes": 2000, "norm": 1.0,
        "teacher_accuracy": 1.0,
    }  # fmt: skip
    assert client_rows(run) == [
        ("client", "examples", "teacher's accuracy", "sent", "received", "averaged", "refused"),
        ("0", "40", "100.0 %", "8.00 kB", "2.00 kB", "4", "0"),
        ("4", "60", "50.0 %", "4.00 kB", "2.00 kB", "4", "0"),
        ("7", "–", "–", "–", "–", "0", "1"),
    ]
    points = {line.get_label(): np.asarray(line.get_xydata()).tolist() for line in client_quality(run).axes[0].lines}
    assert points["Teacher, test set"] == [[0, 100], [4, 50]]


def test_an_outlier_is_named_and_so_is_what_was_refused(tmp_path: Path) -> None:
    """1e28 stands at the top, 20 times the largest that was averaged, with its norm in words."""
    run = read(a_run(tmp_path / "run"))
    figure = update_norms(run)
    assert texts(figure) == ["client 7 refused, round 3: 1e+28", "client 4, round 2"]
    marks = {line.get_label(): np.asarray(line.get_xydata()).tolist() for line in figure.axes[0].lines}
    assert marks["Refused"] == [[3, 180]]
    assert marks["Largest, over 2 times the median"] == [[2, 9]]
    assert norm_rows(run)[1:3] == [("2", "0.5", "1", "9", "4", "–"), ("3", "0.5", "1", "1.2", "4", "7 (1e+28)")]


def test_losses_are_drawn_for_each_model(tmp_path: Path) -> None:
    lines = loss_by_round(read(a_run(tmp_path / "run"))).axes[0].lines
    assert {str(line.get_label()): np.asarray(line.get_ydata())[-1] for line in lines} == {
        "Student": 0.5,
        "Teachers": 0.25,
    }


def test_the_page_has_them_all_and_names_as_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sims.report.html.RESOLUTION", 40)
    run = a_run(tmp_path / "run")
    (run / "confusion.json").write_text(json.dumps({"classes": [NASTY, "$b$"], "counts": [[3, 1], [0, 2]]}))
    page = write_report(run).read_text()
    assert "<script" not in page
    headings = set(re.findall("<h2>(.*?)</h2>", page))
    assert {"Training loss by round", "Which classes are taken for which", "Quality by client"} <= headings
    assert {"Size of the updates", "Clients", "Updates by round", "Refused updates"} <= headings
    assert "The model that ships on 6 test examples" in page
    assert (run / "confusion_matrix.png").exists()


def test_of_many_classes_those_with_most_mistakes_are_drawn_and_none_is_lost() -> None:
    """Of 60 classes, 50 to 59 are mistaken for each other: the picture's numbers still add up to all examples."""
    counts = np.diag(np.full(60, 5))
    for place in range(50, 60):
        counts[place, 50 + (place + 1) % 10] = place - 40
    figure = confusion_matrix(Confusion([f"class {n}" for n in range(60)], counts.tolist()))
    names = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert len(names) == MOST
    assert {f"class {place}" for place in range(50, 60)} < set(names)
    assert names[-1] == "37 others"
    shares = np.asarray(figure.axes[0].images[0].get_array())
    assert shares.sum(axis=1) == pytest.approx(np.full(MOST, 100))
    assert shares[names.index("class 59"), names.index("class 50")] == pytest.approx(100 * 19 / 24)


@pytest.mark.parametrize("counts", [[[1, 2]], [[1], [2]], [[1, -1], [0, 0]], [1, 2], "ab"])
def test_a_matrix_that_is_none_is_refused(counts: Any) -> None:
    with pytest.raises(InputError, match=r"^c\.json: counts"):
        Confusion.from_json({"classes": ["a", "b"], "counts": counts}, "c.json")


def test_the_last_points_are_shown_apart() -> None:
    """97 and 98 % beside a curve that began at 10 %: the second panel is two points high, not a hundred."""
    low, high = closer([[(n, 10.0 + 29 * min(n, 3) + 0.25 * n) for n in range(9)]]) or (0, 0)
    assert (low, high) == pytest.approx((97.9, 99.1))


def test_bands_over_seeds_are_never_cut_by_the_axis(tmp_path: Path) -> None:
    """Seeds that end at 95 and 75 % and began at 10 and 60 %: whatever is drawn of their band is inside the axis."""
    runs = []
    for seed, end in enumerate((0.95, 0.75)):
        rows = [a_round(n, shared_accuracy=end - (0.85 - 0.7 * seed) * (4 - n) / 3) for n in range(1, 5)]
        summary = a_summary_file(quality={"shared": end})
        runs.append(read(write(tmp_path / str(seed), rows, summary)))
    axes = frontier([Series("fedkd", tuple(runs))], ACCURACY, title="mine: digits, 2 seeds").axes[0]
    low, high = axes.get_ylim()
    drawn = np.concatenate([path.vertices for band in axes.collections for path in band.get_paths()])
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    assert len(drawn)
    assert low <= drawn[:, 1].min() <= drawn[:, 1].max() <= high
    assert axes.get_title("left") == "mine: digits, 2 seeds"
