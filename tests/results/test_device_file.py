"""Rows of device files are written and read, those of older runs too."""

import pytest

from fedkd.base.errors import InputError
from fedkd.results.device_file import DeviceFile

INT8 = DeviceFile("int8", "s.tflite", None, 9000, 4000, 0, 1200, 300, 0.5, {"litert": 0.9}, {"litert": 0.99})


def test_a_row_reads_back_as_it_was_written():
    assert DeviceFile.from_json(INT8.to_json()) == INT8
    failed = DeviceFile("int16x8", error="no kernel")
    assert DeviceFile.from_json(failed.to_json()) == failed
    assert set(failed.to_json()) == {"path", "precision", "error"}
    assert (INT8.made, failed.made, INT8.label) == (True, False, "int8, 50 % sparse")


def test_a_row_of_an_older_run_says_the_same():
    row = {"path": "s.tflite", "precision": "int8", "bytes": 9000, "gzip_bytes": 4000, "float_tensors": 0}
    row |= {"accuracy": 0.9, "agreement": 0.99, "macs": 1200, "parameters": 300, "sparsity": 0.5}
    assert DeviceFile.from_json(row) == INT8


@pytest.mark.parametrize("row", ["int8", {"precision": "int8", "flash_bytes": "many"}, {"quality": {"litert": "good"}}])
def test_what_is_no_row_is_refused(row):
    with pytest.raises(InputError, match=r"summary\.json"):
        DeviceFile.from_json(row)
