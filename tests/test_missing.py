"""Laws of runs that leave no file of what they were for."""

import json

import pytest
import typer

from sims.missing import check_files
from tests.report.runs import a_round, a_summary_file, write

LOST = "accuracy falls by 30.1 points in litert, 2.0 allowed"


def a_run(place, qat, int8):
    rows = [{"path": "student_float32.tflite", "precision": "float32"}, {"precision": "int8", **int8}]
    folder = write(place, [a_round(1)], a_summary_file(edge=rows))
    (folder / "config.toml").write_text(f"[edge]\nqat = {json.dumps(qat)}\n")
    return folder


@pytest.mark.parametrize("int8", [{"error": "the converter died"}, {"path": "student_int8.tflite", "warning": LOST}])
def test_a_run_that_was_to_learn_int8_and_has_no_file_of_it_to_use_ends_with_code_3(int8, tmp_path, capsys):
    with pytest.raises(typer.Exit) as ended:
        check_files(a_run(tmp_path / "aware", True, int8))
    assert ended.value.exit_code == 3
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert line.endswith(next(iter(int8.values())) if "error" in int8 else LOST)
    check_files(a_run(tmp_path / "unaware", False, int8))


def test_a_run_that_has_its_file_ends_well(tmp_path):
    check_files(a_run(tmp_path, True, {"path": "student_int8.tflite"}))
