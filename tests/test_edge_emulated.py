"""Laws of the last test before a file is chosen: an emulated device. Its answers are made up here."""

from pathlib import Path

import numpy as np
import pytest

from fedkd.base.errors import InputError
from fedkd.edge.budget import Budget
from sims.edge.candidate import Bench, Candidate
from sims.edge.emulated import emulate_best
from sims.edge.result import closest
from sims.edge.search import Found

Y = np.array([0, 1, 2, 0])
ONE_OF_FOUR, ALL = np.eye(3, dtype=np.float32)[[1, 2, 2, 1]], np.eye(3, dtype=np.float32)[Y]


def candidate(path, accuracy):
    row = {"path": path, "flash_bytes": 1, "accuracy": {"litert": accuracy, "tflm": None}, "errors": {}}
    return Candidate(row | {"checks": [], "verdict": "usable", "emulated": None}, (), 0.0)


@pytest.fixture
def emulated(monkeypatch):
    """What becomes of two candidates, the better first, whose answers on the device are these."""

    def run(budget, answers):
        def emulate(path, x):
            if answers[path.name] is None:
                raise InputError(f"{path} can't run on an emulated Raspberry Pi 4")
            return answers[path.name]

        monkeypatch.setattr("sims.edge.emulated.emulate", emulate)
        monkeypatch.setattr("sims.edge.emulated.predict", lambda *_: ALL)
        monkeypatch.setattr("sims.edge.emulated.output_scale", lambda _: 0.5)
        found = Found(candidates=[candidate("best", 1.0), candidate("second", 0.75)])
        emulate_best(found, Bench(Path("made"), "m", Y[:, None], Y, budget, 1.0), "pi4")
        return found

    return run


def test_a_file_that_holds_there_stays_chosen_and_no_other_is_run(emulated):
    found = emulated(Budget(drop=1.0), {"best": ALL})
    assert found.best.row["path"] == "best"
    assert found.best.row["accuracy"]["pi4"] == 1.0
    alike = {"agreement": 1.0, "difference": 0.0, "steps": 0}
    assert found.best.row["emulated"] == {"machine": "pi4", "accuracy": 1.0, **alike}
    assert found.candidates[1].row["emulated"] is None


def test_a_file_that_loses_too_much_there_has_failed_and_the_next_is_run(emulated):
    """One of four is right where all were: 75 points are lost; logits differ by 1, two steps of 0.5."""
    found = emulated(Budget(drop=1.0), {"best": ONE_OF_FOUR, "second": ALL})
    assert found.best.row["path"] == "second"
    failed = found.candidates[0].row
    assert failed["verdict"] == "failed: accuracy falls by 75.0 points in pi4, 1.0 allowed"
    assert failed["emulated"]["steps"] == 2


def test_what_cannot_run_there_is_never_chosen_whatever_the_budget(emulated):
    found = emulated(Budget(flash=10), {"best": None, "second": None})
    assert found.best is None
    assert found.candidates[0].row["errors"] == {"pi4": "best can't run on an emulated Raspberry Pi 4"}
    assert closest(found.candidates)["misses"] == ["it can't run in pi4"]
