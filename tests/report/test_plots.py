"""Laws of the report's plots."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib._pylab_helpers import Gcf
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Text as Label

from fedkd.objectives.metric import ACCURACY
from fedkd.results.partition import Partition
from fedkd.results.run_folder import read
from fedkd.results.run_record import RunRecord
from sims.report import plots
from tests.report.runs import a_summary


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


def with_partition(run: RunRecord, clients: int, classes: int) -> RunRecord:
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


def test_quality_along_a_setting_is_the_mean_over_seeds_at_each_value() -> None:
    """Shares .5 and .7 have the mean 60 % and lie within 60 ± 14.1."""
    figure = plots.quality_by_setting("clients", {"fedkd": {32: [0.9], 2: [0.5, 0.7]}, "fedavg": {4: [0.8]}}, ACCURACY)
    line, other = figure.axes[0].lines
    assert line.get_xydata() == pytest.approx(np.array([[2, 60], [32, 90]]))
    assert other.get_xydata() == pytest.approx(np.array([[4, 80]]))
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["2", "4", "32"]
    low, high = figure.axes[0].collections[0].get_datalim(figure.axes[0].transData).intervaly
    assert (low, high) == pytest.approx((60 - 200**0.5, 90), abs=0.01)
