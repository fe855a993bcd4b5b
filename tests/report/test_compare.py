"""Laws of comparing runs: what differs is shown, what doesn't compare is said."""

import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text
from rich.console import Console
from typer.testing import CliRunner

from fedkd.base.errors import InputError
from fedkd.config.settings import build, to_toml
from fedkd.objectives.metric import ACCURACY
from fedkd.results.run_folder import read
from sims.cli import app
from sims.report.compare import comparison, differences, figures, notices
from sims.report.compare_files import write_latex, write_page
from sims.report.compare_tables import tables
from sims.report.plots import Series, frontier
from tests.report.runs import a_round, a_summary_file, write


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sims.report.html.RESOLUTION", 40)


def a_run(folder: Path, summary: bool = True, rounds: int = 4, shared: float = 0.8, **settings: object) -> Path:
    """A run of four rounds with these settings: 80 % right, 8 kB a client, 20 times less than FedAvg."""
    config = build({"task": "digits", "clients": 2, **settings})  # type: ignore[dict-item]
    held = a_summary_file(name=folder.name, method=config.method, task=config.task)
    held["traffic"]["reduction_vs_teacher"], held["quality"]["shared"] = 20.0, shared
    write(folder, [a_round(number) for number in range(1, rounds + 1)], held if summary else None)
    (folder / "config.toml").write_text(to_toml(config))
    return folder


def test_settings_in_which_runs_differ_are_shown_and_no_others(tmp_path: Path) -> None:
    runs = [
        a_run(tmp_path / "a", **{"train.epochs": 2, "threads": 1}),
        a_run(tmp_path / "b", **{"method": "fedmutual", "loss.adaptive": False}),
    ]
    assert differences(comparison(runs)) == [
        ("method", "fedkd", "fedmutual"),
        ("train.epochs", "2", "1"),
        ("loss.adaptive", "true", "false"),
    ]


def test_figures_are_those_of_the_summaries(tmp_path: Path) -> None:
    held = comparison([a_run(tmp_path / "a"), a_run(tmp_path / "b")])
    assert figures(held) == [
        ("accuracy, %", "teachers, %", "MB a client", "times less", "rounds", "seconds", "seeds"),
        ("80.00", "90.00", "0.00800", "20.0", "4", "8", "1"),
        ("80.00", "90.00", "0.00800", "20.0", "4", "8", "1"),
    ]
    assert list(notices(held)) == []


def test_runs_that_differ_in_seeds_alone_are_one_row(tmp_path: Path) -> None:
    """80, 70 and 60 % have the mean 70 and the sample standard deviation 10; other epochs are another row."""
    runs = [a_run(tmp_path / f"a-seed{seed}", shared=0.8 - seed / 10, seed=seed) for seed in (0, 1, 2)]
    held = comparison([*runs, a_run(tmp_path / "b", seed=0, **{"train.epochs": 9})])
    assert [(pool.name, pool.seeds) for pool in held.pools] == [("a", ("0", "1", "2")), ("b", ("0",))]
    heads, *rows = figures(held)
    assert [(row[0], row[heads.index("seeds")]) for row in rows] == [("70.00 ± 10.00", "3"), ("80.00", "1")]
    assert [key for key, *_ in differences(held)] == ["train.epochs"]


def test_a_seed_a_second_time_and_a_run_that_stopped_are_rows_of_their_own(tmp_path: Path) -> None:
    """A seed twice would count as two, with less spread than there is."""
    again = [a_run(tmp_path / name) for name in ("a", "b")]
    cut = a_run(tmp_path / "cut", summary=False, seed=1)
    assert [pool.name for pool in comparison([*again, cut]).pools] == ["a", "b", "cut"]


def test_the_figure_of_a_run_is_that_of_the_model_that_ships(tmp_path: Path) -> None:
    """After three rounds it was 80 %, after a finishing round, of which device files are made, 60 %."""
    run = a_run(tmp_path / "a")
    quality = {"shared": 0.8, "teacher_mean": 0.9, "finished": 0.6}
    write(run, [a_round(number) for number in range(1, 5)], a_summary_file(quality=quality))
    assert [row[0] for row in figures(comparison([run, a_run(tmp_path / "b")]))[1:]] == ["60.00", "80.00"]


def test_eight_runs_with_long_names_fit_80_columns(tmp_path: Path) -> None:
    """No line is longer, no figure is cut, and what differs is all there."""
    names = [f"a_run_with_quite_a_long_name_{number}" for number in range(8)]
    runs = [a_run(tmp_path / name, **{"train.epochs": n + 1, "loss.temperature": 2.5}) for n, name in enumerate(names)]
    runs[0] = a_run(tmp_path / names[0], **{"train.epochs": 1, "loss.temperature": 7.5})
    console = Console(width=80, record=True, file=(tmp_path / "out").open("w"))
    console.print(*tables(comparison(runs)), sep="\n")
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert text.count("80.00") == text.count("0.00800") == 8
    assert all(f"epochs {number}" in text for number in range(1, 9))
    assert text.count("temperature 2.5") == 7


def test_the_latex_table_names_tasks_without_paths_and_escapes_names(tmp_path: Path) -> None:
    task = "npz:/data/of mine/wine_2.npz"
    held = comparison([a_run(tmp_path / "50%_a", task=task), a_run(tmp_path / "b", task=task)])
    lines = write_latex(held, tmp_path / "t.tex").read_text().splitlines()
    assert lines[1] == r"\begin{tabular}{llrrrrrrr}"
    assert lines[5].startswith(r"wine\_2 & 50\%\_a & 80.00 & 90.00 & 0.00800 & 20.0 & 4 & 8 & 1 \\")
    assert lines[-1] == r"\end{tabular}"
    assert "/data" not in (tmp_path / "t.tex").read_text()


def test_a_file_that_cant_be_written_is_named_in_one_line(tmp_path: Path) -> None:
    runs = [str(a_run(tmp_path / name)) for name in "ab"]
    for option in ("--html", "--latex"):
        result = CliRunner().invoke(app, ["compare", *runs, option, str(tmp_path / "none" / "file")])
        assert (result.exit_code, len(result.stderr.strip().splitlines())) == (2, 1)
        assert result.stderr.startswith(f"error: {option} {tmp_path}/none/file: can't be written")


def test_an_unfinished_run_shows_its_last_figures_and_says_so(tmp_path: Path) -> None:
    """After two rounds of 3 kB up and 1 kB down over both clients, a client has sent and received 4 kB."""
    held = comparison([a_run(tmp_path / "whole"), a_run(tmp_path / "cut", summary=False, rounds=2)])
    assert figures(held)[2] == ("40.00", "50.00", "0.00400", "–", "2 of 4", "–", "1")
    assert list(notices(held)) == ["cut isn't finished, rounds 2 of 4; its figures are the last it measured."]


def test_runs_of_different_tasks_get_a_warning_and_pictures_of_their_own(tmp_path: Path) -> None:
    held = comparison([a_run(tmp_path / "a"), a_run(tmp_path / "b", task="wine")])
    assert list(notices(held)) == ["These runs are of different tasks (digits, wine): their accuracies don't compare."]
    page = write_page(held, tmp_path / "compare.html").read_text()
    headings = re.findall("<h2>(Quality.*?)</h2>", page)
    assert headings == [f"Quality by {what}, {task}" for task in ("digits", "wine") for what in ("megabytes", "round")]


def test_runs_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / "x/run"), a_run(tmp_path / "y/run")]
    assert [pool.name for pool in comparison(runs).pools] == list(map(str, runs))


def test_terminal_and_page_hold_the_same_figures(tmp_path: Path) -> None:
    runs = [a_run(tmp_path / "a"), a_run(tmp_path / "b", rounds=3, summary=False)]
    result = CliRunner().invoke(app, ["compare", *map(str, runs), "--html", str(tmp_path / "c.html")])
    page = (tmp_path / "c.html").read_text()
    assert result.exit_code == 0
    for figure in ("80.00", "0.00800", "3 of 4"):
        assert figure in result.output
        assert figure in page
    assert 'src="http' not in page


def test_names_are_text_and_never_markup(tmp_path: Path) -> None:
    held = comparison([a_run(tmp_path / "[red]"), a_run(tmp_path / "<b>")])
    console = Console(width=120, record=True, file=(tmp_path / "out").open("w"))
    console.print(*tables(held), sep="\n")
    assert "[red]" in console.export_text()
    assert "<b>" not in write_page(held, tmp_path / "c.html").read_text()


@pytest.mark.parametrize("given", [1, 0])
def test_fewer_than_two_runs_are_refused(tmp_path: Path, given: int) -> None:
    with pytest.raises(InputError, match=f"compare takes two runs or more, got {given}"):
        comparison([a_run(tmp_path / "a")][:given])


def test_frontier_puts_a_series_at_the_mean_of_its_seeds_with_their_deviation(tmp_path: Path) -> None:
    """Ends of 80 and 70 % have the mean 75 and the sample standard deviation 7.07; both sent 8 kB."""
    runs = [a_run(tmp_path / str(seed), seed=seed) for seed in (0, 1)]
    lower = a_summary_file(quality={"shared": 0.7})
    write(runs[1], [a_round(number) for number in range(1, 5)], lower)
    series = Series("fedkd", tuple(map(read, runs)))
    assert series.ends(ACCURACY) == pytest.approx(np.array([[0.008, 80], [0.008, 70]]))
    figure = frontier([series], ACCURACY)
    bars = figure.axes[0].containers[0]
    assert bars[0].get_xydata() == pytest.approx(np.array([[0.008, 75]]))
    ends = sorted(path[1] for segment in bars[2][1].get_segments() for path in segment)
    assert ends == pytest.approx([75 - 7.0711, 75 + 7.0711])
    assert "fedkd" in [text.get_text() for text in figure.axes[0].texts]


def test_frontier_shows_what_sends_nothing_as_a_line(tmp_path: Path) -> None:
    traffic = {"up_bytes_per_client": 0, "down_bytes_per_client": 0}
    silent = write(tmp_path / "s", [a_round(1, 1, up_bytes=0, down_bytes=0)], a_summary_file(traffic=traffic))
    figure = frontier([Series("local", (read(silent),)), Series("fedkd", (read(a_run(tmp_path / "a")),))], ACCURACY)
    assert "local, nothing sent" in [text.get_text() for text in figure.axes[0].texts]


def test_labels_of_points_in_one_place_dont_cover_each_other(tmp_path: Path) -> None:
    run = read(a_run(tmp_path / "a"))
    figure = frontier([Series(f"method_{number}", (run,)) for number in range(12)], ACCURACY)
    figure.draw_without_rendering()
    boxes = [Text.get_window_extent(text) for text in figure.axes[0].texts]
    assert len(boxes) == 12
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
