"""Laws of the run's report: what is read back, drawn, written to the page and printed."""

import json
import re
from dataclasses import replace
from io import StringIO
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text as Label
from rich.console import Console

from fedkd.errors import InputError
from sims.report import plots
from sims.report.page import write_report
from sims.report.run_folder import Partition, RunFolder, read
from sims.report.table import percent, saving, size, summary_table

PICTURES = ("quality_by_round", "quality_by_megabytes", "ranks_heatmap", "partition_picture", "device_files")
NASTY = "<script>alert('&')</script>"


def a_round(number: int, rounds: int = 4, **changes: Any) -> dict[str, Any]:
    """A round's line: 3 kB up and 1 kB down over all clients, the teachers measured in even rounds."""
    even = number % 2 == 0
    row = {
        "round": number,
        "rounds": rounds,
        "phase": "finish" if number == rounds else "train",
        "participants": [0, 1],
        "shared_accuracy": 0.2 * number,
        "teacher_mean": 0.2 * number + 0.1 if even else None,
        "teacher_std": 0.02 if even else None,
        "teacher_personal": None,
        "up_bytes": 3000,
        "down_bytes": 1000,
        "ranks": {"conv/kernel": [None if even else 2, 3.5, 9], "conv/bias": [None, None, 1]},
        "refused": [{"client": 1, "reason": "values", "why": NASTY}] if number == 3 else [],
        "seconds": 2.0,
    }
    return row | changes


def a_summary(**changes: Any) -> dict[str, Any]:
    """The summary of four rounds between two clients, each of which sent 6 kB and received 2 kB."""
    summary = {
        "name": NASTY,
        "method": "fedkd",
        "task": "digits",
        "seed": 0,
        "engine": "local",
        "rounds": 3,
        "finish_rounds": 1,
        "clients": 2,
        "accuracy": {
            "shared": 0.8,
            "teacher_mean": 0.9,
            "teacher_std": 0.02,
            "teacher_personal": None,
            "majority": 0.1,
        },
        "traffic": {
            "up_bytes_per_client": 6000,
            "down_bytes_per_client": 2000,
            "dense_teacher_bytes_per_client": 160_000,
            "dense_student_bytes_per_client": 16_000,
        },
        "speed": {"seconds": 8.0, "client_updates_per_second": 1.0},
        "edge": [
            {"path": "s.tflite", "precision": "float32", "sparsity": 0.0, "bytes": 9000, "gzip_bytes": 8000}
            | {"accuracy": 0.8, "agreement": 1.0},
            {"path": "q.tflite", "precision": "int8", "sparsity": 0.8, "bytes": 3000, "gzip_bytes": 1000}
            | {"accuracy": 0.79, "agreement": 0.98},
            {"path": "x.tflite", "precision": "int16x8", "error": NASTY},
        ],
        "shared_sha256": "0123456789ab" + "c" * 52,
        "parameters": {"teacher": 40_000, "student": 4000},
    }
    return summary | changes


def write(run: Path, rows: list[dict[str, Any]], summary: dict[str, Any] | None = None, **partition: Any) -> Path:
    """A run's folder with these files."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "history.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run / "config.toml").write_text(f'name = "{NASTY}"\n')
    if summary:
        (run / "summary.json").write_text(json.dumps(summary))
    if partition:
        (run / "partition.json").write_text(json.dumps(partition))
    return run


def reported(run: Path) -> Path:
    """The folder with its report, whose pictures are coarse to be quick."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sims.report.html.RESOLUTION", 40)
        write_report(run)
    return run


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, with its report."""
    rows = [a_round(number) for number in range(1, 5)]
    run = tmp_path_factory.mktemp("runs") / "finished"
    write(run, rows, a_summary(), classes=[NASTY, "1"], counts=[[5, 0], [1, 7]])
    return reported(run)


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was stopped in its third round, with its report."""
    run = write(tmp_path_factory.mktemp("runs") / "interrupted", [a_round(1, ranks={}), a_round(2, ranks={})])
    return reported(run)


def lines(run: Path, *text: str) -> Path:
    """A run whose history is these lines, the last without its end."""
    run.mkdir(parents=True, exist_ok=True)
    (run / "history.jsonl").write_text("\n".join(text))
    return run


def test_a_run_reads_back_what_it_wrote(finished: Path) -> None:
    run = read(finished)
    assert run.summary == a_summary()
    assert [row["round"] for row in run.history] == [1, 2, 3, 4]
    assert run.partition is not None
    assert run.partition.counts == ((5, 0), (1, 7))
    assert run.config == f'name = "{NASTY}"\n'


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        read(tmp_path / "nowhere")


def test_a_folder_without_history_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"history\.jsonl"):
        read(tmp_path)


def test_a_truncated_last_line_is_ignored(tmp_path: Path) -> None:
    run = lines(tmp_path, json.dumps(a_round(1)), json.dumps(a_round(2))[:30])
    assert [row["round"] for row in read(run).history] == [1]


def test_a_malformed_middle_line_is_named_by_file_and_number(tmp_path: Path) -> None:
    run = lines(tmp_path, json.dumps(a_round(1)), '{"round": 2, "rou', json.dumps(a_round(3)), "")
    with pytest.raises(InputError, match=r"history\.jsonl, line 2: .*'\{\"round\": 2, \"rou'"):
        read(run)


@pytest.mark.parametrize(
    ("line", "rule"),
    [("[1]", "one JSON object"), ('{"round": 1}', "'rounds'"), (json.dumps(a_round(1, up_bytes="3")), "up_bytes")],
)
def test_a_line_that_is_no_round_says_which_rule_it_breaks(tmp_path: Path, line: str, rule: str) -> None:
    with pytest.raises(InputError, match=f"line 1: .*{rule}"):
        read(lines(tmp_path, line, ""))


def test_a_round_repeated_after_a_restart_counts_once(tmp_path: Path) -> None:
    rows = [a_round(1), a_round(2), a_round(2, up_bytes=7), a_round(3)]
    assert [row["up_bytes"] for row in read(write(tmp_path, rows)).history] == [3000, 7, 3000]


def test_a_partition_with_a_count_too_few_names_the_client(tmp_path: Path) -> None:
    run = write(tmp_path, [a_round(1)], classes=["a", "b"], counts=[[1, 2], [3]])
    with pytest.raises(InputError, match="client 1 must have 2 counts, a class each, got 1"):
        read(run)


def test_a_clients_bytes_are_the_mean_over_all_clients(tmp_path: Path) -> None:
    """Four kilobytes a round both ways, over two clients."""
    assert read(write(tmp_path, [a_round(1), a_round(2)])).bytes_per_client() == [2000, 4000]


def test_the_page_needs_nothing_from_outside(finished: Path) -> None:
    page = (finished / "report.html").read_text()
    assert not re.search(r"https?://|<link|@import|url\(", page)
    sources = re.findall(r'src(?:set)?="([^"]{0,30})', page)
    assert len(sources) == 2 * len(PICTURES)
    assert all(source.startswith("data:image/png;base64,") for source in sources)


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

    monkeypatch.setattr("sims.report.html.os.replace", full)
    with pytest.raises(OSError, match="no space"):
        write_report(run)
    assert (run / "report.html").read_text() == "old"
    assert {path.name for path in run.iterdir()} == {"report.html", "history.jsonl"}


def test_pictures_leave_nothing_in_pyplot(finished: Path) -> None:
    plots.quality_by_round(read(finished))
    assert not Gcf.figs


def marks(figure: Figure) -> dict[str, float]:
    """Where the labelled vertical lines of the first axes stand."""
    found = [line for line in figure.axes[0].lines if str(line.get_label()).startswith("FedAvg")]
    return {str(line.get_label()): float(np.asarray(line.get_xdata())[0]) for line in found}


def test_fedavg_is_marked_at_its_megabytes(finished: Path) -> None:
    figure = plots.quality_by_megabytes(read(finished))
    assert marks(figure) == {"FedAvg of student: 0.016 MB": 0.016, "FedAvg of teacher: 0.16 MB": 0.16}


def test_finishing_rounds_are_shaded_to_their_end(finished: Path) -> None:
    """The fourth of four rounds finishes: its shade begins halfway after the third."""
    axes = plots.quality_by_round(read(finished)).axes[0]
    shade = axes.patches[0]
    assert isinstance(shade, Rectangle)
    assert (shade.get_x(), shade.get_x() + shade.get_width()) == (3.5, 4.5)
    assert axes.get_xlim() == (0.5, 4.5)


def test_vectors_are_not_in_the_heatmap_and_dense_has_its_own_colour(finished: Path) -> None:
    run = read(finished)
    assert run.ranked_tensors() == {"conv/kernel": 9}
    down = plots.ranks_heatmap(run).axes[1].collections[0]
    assert down.cmap is not None
    dense = tuple(down.cmap(float("nan")))
    assert dense not in {tuple(down.cmap(share / 100)) for share in range(101)}


def with_partition(run: RunFolder, clients: int, classes: int) -> RunFolder:
    """The run, with as many clients and classes as said."""
    counts = tuple(tuple((7 * client + label) % 90 for label in range(classes)) for client in range(clients))
    return replace(run, partition=Partition(tuple(f"class number {c}" for c in range(classes)), counts))


@pytest.mark.parametrize(("clients", "classes"), [(4, 2), (100, 10)])
def test_labels_of_a_partition_neither_overlap_nor_leave_the_picture(
    finished: Path, clients: int, classes: int
) -> None:
    figure = plots.partition_picture(with_partition(read(finished), clients, classes))
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in figure.axes[1].get_yticklabels()]
    assert all(not one.overlaps(other) for one, other in pairwise(boxes))
    inside = figure.bbox.padded(1)
    texts = [text for text in figure.findobj(Label) if text.get_visible() and text.get_text()]
    drawn = [text.get_window_extent() for text in texts if text not in figure.axes[1].get_xticklabels()]
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in drawn)


@pytest.mark.parametrize("picture", ["quality_by_megabytes", "device_files"])
def test_a_legend_fits_its_picture(finished: Path, picture: str) -> None:
    figure = getattr(plots, picture)(read(finished))
    figure.draw_without_rendering()
    legend = figure.legends[0].get_window_extent()
    assert legend.x0 >= 0
    assert legend.x1 <= figure.bbox.x1
    assert not legend.overlaps(figure.axes[0].get_window_extent())


def test_files_of_one_accuracy_each_have_their_own_row(finished: Path) -> None:
    run = read(finished)
    edge = [{"precision": name, "bytes": 10, "gzip_bytes": 9, "accuracy": 0.8} for name in ("float32", "int8")]
    figure = plots.device_files(replace(run, summary=a_summary(edge=edge)))
    assert np.asarray(figure.axes[1].lines[0].get_xydata()).tolist() == [[80.0, 0.0], [80.0, 1.0]]


def printed(summary: dict[str, Any]) -> str:
    """What the closing table puts on a terminal of 80 columns."""
    console = Console(file=StringIO(), width=80)
    console.print(summary_table(summary, Path("runs/mine/report.html")))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_closing_table_fits_80_columns_and_takes_no_markup() -> None:
    text = printed(a_summary(name="[red]" + 90 * "x"))
    assert max(map(len, text.splitlines())) <= 80
    assert "[red]x" in text


def test_the_closing_table_has_quality_traffic_files_hash_and_report() -> None:
    text = printed(a_summary(name="mine", f1_positive=0.75))
    for part in ("student 80.0 %", "teachers 90.0 % ± 2.0", "F1 0.750", "6.00 kB up + 2.00 kB down", "3 + 1 rounds"):
        assert part in text
    for part in ("95.0 % less (teacher), 50.0 % less (student)", "int8, 80 % sparse", "int16x8 failed"):
        assert part in text
    assert re.search(r"sha256 0123456789ab\s", text)
    assert str(Path("runs/mine/report.html")) in text


def test_a_method_without_teachers_prints_none() -> None:
    accuracy = {"shared": 0.8, "teacher_mean": None, "teacher_std": None, "teacher_personal": None, "majority": None}
    text = printed(a_summary(name="plain", accuracy=accuracy, edge=[]))
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
