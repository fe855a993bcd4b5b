"""Laws of the last test before a file is chosen: an emulated device. Its answers are made up here."""

from pathlib import Path

import numpy as np
import pytest

from fedkd.edge.budget import Budget
from fedkd.edge.device_runtime import Run
from fedkd.edge.measure import Measurement
from fedkd.objectives.classification import Classification
from fedkd.objectives.metric import ACCURACY
from fedkd.results.search import Candidate
from sims.edge.candidate import Bench, Measured
from sims.edge.emulated import emulate_best
from sims.edge.found import Found
from sims.edge.result import closest

Y = np.array([0, 1, 2, 0])
ONE_OF_FOUR, ALL = np.eye(3, dtype=np.float32)[[1, 2, 2, 1]], np.eye(3, dtype=np.float32)[Y]


def candidate(path, accuracy):
    return Measured(Candidate("int8", path, flash_bytes=1, quality={"litert": accuracy, "tflm": None}), True)


@pytest.fixture
def emulated(monkeypatch):
    """What becomes of two candidates, the better first, whose answers on the device are these."""

    def run(budget, answers):
        def measure(path, x, runtimes):
            there = answers[path.name]
            runs = {"litert": Run(ALL)} | ({} if there is None else {"pi4": Run(there)})
            errors = {"pi4": f"{path} can't run on an emulated Raspberry Pi 4"} if there is None else {}
            return Measurement(path, "int8", 1, 1, 0, 1, (), 0.5, runs, errors)

        monkeypatch.setattr("sims.edge.emulated.measure", measure)
        found = Found(candidates=[candidate("best", 1.0), candidate("second", 0.75)])
        objective = Classification(("a", "b", "c"))
        emulate_best(found, Bench(Path("made"), "m", Y[:, None], Y, budget, objective, 1.0), "pi4")
        return found

    return run


def test_a_file_that_holds_there_stays_chosen_and_no_other_is_run(emulated):
    found = emulated(Budget(drop=1.0), {"best": ALL})
    best = found.best(ACCURACY).file
    assert (best.path, best.quality["pi4"]) == ("best", 1.0)
    assert best.emulated == {"machine": "pi4", "quality": 1.0, "agreement": 1.0, "difference": 0.0, "steps": 0}
    assert found.candidates[1].file.emulated is None


def test_a_file_that_loses_too_much_there_has_failed_and_the_next_is_run(emulated):
    """One of four is right where all were: 75 points are lost; logits differ by 1, two steps of 0.5."""
    found = emulated(Budget(drop=1.0), {"best": ONE_OF_FOUR, "second": ALL})
    assert found.best(ACCURACY).file.path == "second"
    failed = found.candidates[0].file
    assert failed.verdict == "failed: accuracy falls by 75.0 points in pi4, 1.0 allowed"
    assert (failed.emulated["steps"], failed.emulated["agreement"]) == (2, 0.25)


def test_what_cannot_run_there_is_never_chosen_whatever_the_budget(emulated):
    found = emulated(Budget(flash=10), {"best": None, "second": None})
    assert found.best(ACCURACY) is None
    assert found.candidates[0].file.errors == {"pi4": "best can't run on an emulated Raspberry Pi 4"}
    assert closest(found.candidates, ACCURACY).misses == ["it can't run in pi4"]
