"""Laws of the rows that tell of device files: what is written is read, and so is what older runs wrote."""

import json
from dataclasses import replace

import pytest

from fedkd.base.errors import InputError
from fedkd.results.device_file import DeviceFile
from tests.report.edges import a_candidate

FILE = DeviceFile(
    path="student_int8.tflite", precision="int8", flash_bytes=3000, gzip_bytes=1000, float_tensors=0, tensors=9,
    quality={"keras": 0.8, "litert": 0.79, "tflm": None}, agreement={"litert": 0.98, "tflm": None},
    interval=(0.7, 0.85), macs=5000, parameters=700, sparsity=0.5,
)  # fmt: skip


def test_what_is_written_is_read():
    assert DeviceFile.from_json(json.loads(json.dumps(FILE.to_json()))) == FILE


def test_a_file_that_is_not_to_be_used_says_so_wherever_it_is_named():
    marked = replace(FILE, warning="accuracy falls by 30.1 points in litert, 2.0 allowed")
    assert DeviceFile.from_json(json.loads(json.dumps(marked.to_json()))) == marked
    assert marked.label == "int8, 50 % sparse, not to be used"


def test_a_file_that_could_not_be_made_has_an_error_and_no_figures():
    failed = DeviceFile("int16x8", error="the converter died")
    assert failed.to_json() == {"path": None, "precision": "int16x8", "error": "the converter died"}
    assert DeviceFile.from_json(failed.to_json()) == failed
    assert (FILE.made, failed.made, FILE.deciding, FILE.alike) == (True, False, 0.79, 0.98)


def test_the_row_of_an_older_summary_holds_figures_of_litert():
    row = {"path": "q.tflite", "precision": "int8", "bytes": 3000, "gzip_bytes": 1000, "float_tensors": 0}
    found = DeviceFile.from_json(row | {"accuracy": 0.79, "agreement": 0.98, "macs": 7, "sparsity": 0.8})
    assert (found.flash_bytes, found.quality, found.agreement) == (3000, {"litert": 0.79}, {"litert": 0.98})
    assert (found.tensors, found.interval, found.label) == (None, None, "int8, 80 % sparse")


def test_the_candidate_of_an_older_search_holds_accuracies_by_runtime():
    row = {key: value for key, value in a_candidate().items() if key != "quality"}
    found = DeviceFile.from_json(row | {"accuracy": {"keras": 0.97, "litert": 0.968, "tflm": None}})
    assert found.quality == {"keras": 0.97, "litert": 0.968, "tflm": None}
    assert (found.path, found.flash_bytes, found.interval) == ("s_int8.tflite", 10_888, (0.945, 0.982))


@pytest.mark.parametrize(
    "row, said",
    [
        ([], "edge[0] must be an object, got []"),
        ({"path": 3}, "edge[0].path must be text, got 3"),
        ({"flash_bytes": -1}, "edge[0].flash_bytes must be at least 0, got -1"),
        ({"quality": {"litert": "good"}}, "edge[0].quality.litert must be a number, got 'good'"),
        ({"agreement": 1.5}, "edge[0].agreement.litert must be in [0, 1], got 1.5"),
        ({"interval": [0.1]}, "edge[0].interval must be two numbers, got [0.1]"),
    ],
)
def test_a_row_that_cannot_be_is_refused_with_its_place(row, said):
    with pytest.raises(InputError) as refused:
        DeviceFile.from_json(row, "edge[0]")
    assert str(refused.value) == said
