"""Laws of edge.json: what is written is read, and so is what older searches wrote."""

import json

import pytest

from fedkd.base.errors import InputError
from fedkd.objectives.metric import Scale
from fedkd.results.search import Search, read_search, write_search
from tests.report.edges import a_candidate, a_float_file, an_edge, write_edge

EMULATED = {"machine": "pi4", "accuracy": 0.96, "agreement": 0.99, "difference": 0.1, "steps": 1}
OLD = an_edge(a_candidate(emulated=EMULATED), a_float_file())


def test_what_is_written_is_read(tmp_path):
    found = Search.from_json(OLD)
    write_search(tmp_path, found)
    assert read_search(tmp_path) == found
    assert Search.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_an_older_search_was_about_accuracy(tmp_path):
    found = read_search(write_edge(tmp_path, OLD))
    first, second = found.candidates
    assert (found.metric.name, found.stages[0].quality) == ("accuracy", 0.98)
    assert (first.quality["tflm"], second.quality["tflm"], first.emulated["quality"]) == (0.965, None, 0.96)
    assert (first.arena_bytes, first.checks[2].runtime, second.usable) == (4832, "tflm", False)
    assert [op["tflm"] for op in second.ops] == [True, False]


def test_today_the_row_of_a_candidate_begins_with_that_of_its_file():
    row = Search.from_json(OLD).to_json()["candidates"][0]
    assert list(row)[:4] == ["precision", "path", "error", "flash_bytes"]
    assert "accuracy" not in row


def test_a_figure_of_another_metric_may_be_any_number():
    mae = Scale("mae", "mean absolute error", "kWh", "lower")
    row = a_candidate() | {"accuracy": {"litert": 43.2}}
    assert Search.from_json(an_edge(row, stages=[], metric=mae.to_json())).candidates[0].quality["litert"] == 43.2
    with pytest.raises(InputError, match=r"candidates\[0\].quality.litert must be in \[0, 1\], got 43.2"):
        Search.from_json(an_edge(row, stages=[]))
    with pytest.raises(InputError, match="metric must be an object with name, label, unit and better"):
        Search.from_json(an_edge(metric={"name": "mae"}))
