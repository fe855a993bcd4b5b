"""Laws of the pictures of a search for a device's file."""

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from fedkd.results.search import Candidate, Search
from sims.report.edge_file import EdgeFile
from sims.report.plots import MOST_LAYERS, edge_frontier, edge_layers, edge_stages
from sims.report.plots.envelope import unbeaten
from tests.report.edges import a_candidate, a_float_file, a_layer, an_edge


def of(edge: dict[str, Any]) -> EdgeFile:
    return EdgeFile(Search.from_json(edge))


def points(figure: Figure, panel: int, label: str) -> list[list[float]]:
    """Where the points of a label stand."""
    lines = [line for line in figure.axes[panel].lines if line.get_label() == label]
    return [np.asarray(line.get_xydata()).ravel().tolist() for line in lines]


def names(figure: Figure, panel: int) -> set[str]:
    return {text.get_text() for text in figure.axes[panel].texts}


def test_files_stand_at_their_lowest_accuracy_on_a_device_and_their_kilobytes() -> None:
    """10,240 bytes are 10 KB; 96.5 % in TFLM is lower than 96.8 % in LiteRT."""
    edge = of(an_edge(a_candidate(flash_bytes=10_240), a_float_file(flash_bytes=30_720)))
    figure = edge_frontier(edge)
    assert points(figure, 0, "Meets the budget") == [[10, 96.5]]
    assert points(figure, 0, "Chosen") == [[10, 96.5]]
    assert points(figure, 0, "Fails") == [[30, 97]]


def test_the_lines_of_the_budget_are_drawn_where_they_are() -> None:
    """In TFLM the file lost 0.5 points of the 1.0 allowed and has 96.5 %: 96.0 % is the lowest allowed."""
    figure = edge_frontier(of(an_edge(a_candidate())))
    flash, arena, macs = range(3)
    assert points(figure, flash, "Budget")[0][0] == 32
    assert points(figure, arena, "Budget")[0][0] == 16
    assert not points(figure, macs, "Budget")
    assert points(figure, flash, "Lowest accuracy allowed")[0][1] == pytest.approx(96)


def test_files_held_to_different_accuracies_have_no_common_line() -> None:
    drop = a_candidate()["checks"][2]
    other = a_candidate("b.tflite", checks=[drop | {"value": 0.9}])
    assert of(an_edge(a_candidate(), other)).floor() is None


def test_a_cost_that_nobody_measured_has_no_panel() -> None:
    figure = edge_frontier(of(an_edge(a_float_file(), chosen=None)))
    assert [axes.get_xlabel().split()[0] for axes in figure.axes] == ["Flash,", "Multiply-accumulates,"]


def test_a_file_far_below_the_others_does_not_press_them_together() -> None:
    """67 % beside 96.5 %: the axis begins above 90 %, and the file's accuracy is written at its mark."""
    broken = a_candidate("b.tflite", accuracy={"tflm": 0.67}, flash_bytes=9000, verdict="failed: accuracy falls")
    figure = edge_frontier(of(an_edge(a_candidate(), broken)))
    assert figure.axes[0].get_ylim()[0] > 90
    assert names(figure, 0) == {"1", "2: 67.0 %"}


def test_of_many_files_those_that_nothing_cheaper_beats_are_named() -> None:
    """Of 20 files of equal accuracy the cheapest is unbeaten; the chosen one is named too."""
    files = [a_candidate(f"{size}.tflite", flash_bytes=1000 * size) for size in range(1, 21)]
    figure = edge_frontier(of(an_edge(*files, chosen="7.tflite")))
    assert names(figure, 0) == {"1", "7"}


def test_what_is_unbeaten_gets_better_as_it_gets_dearer() -> None:
    assert unbeaten([(3, 75), (2, 80), (1, 70), (4, 80), (5, 81)]) == [(1, 70), (2, 80), (5, 81)]


def test_each_runtime_has_its_own_shape_and_colour() -> None:
    figure = edge_stages(of(an_edge(a_candidate())))
    marks = figure.legends[0].get_lines()
    looks = {line.get_label(): (line.get_marker(), line.get_color()) for line in marks}
    assert list(looks) == ["Keras", "LiteRT", "LiteRT, reference kernels", "TFLite Micro"]
    assert len({shape for shape, _ in looks.values()}) == len({colour for _, colour in looks.values()}) == 4


def test_bars_are_the_ratios_of_the_layers_that_have_one() -> None:
    layers = [a_layer("a", 30.0), a_layer("flatten", None), a_layer("b", -2.0)]
    figure = edge_layers(Candidate.from_json(a_candidate(layers=layers)))
    assert [bar.get_width() for bar in figure.axes[0].patches] == [30, -2]  # type: ignore[attr-defined]
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == ["a", "b"]
    assert names(figure, 0) == {"30.0", "−2.0"}


def test_of_many_layers_those_with_the_lowest_ratios_are_drawn_in_the_models_order() -> None:
    """Ratios fall from the first layer on, so the last ones are the lowest."""
    layers = [a_layer(str(index), 200.0 - index) for index in range(MOST_LAYERS + 5)]
    figure = edge_layers(Candidate.from_json(a_candidate(layers=layers)))
    shown = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert shown == [str(index) for index in range(5, MOST_LAYERS + 5)]
