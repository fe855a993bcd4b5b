"""Laws of what a file may lose against the model it was made of."""

import pytest

from fedkd.edge.judged import loses
from fedkd.objectives.metric import ACCURACY, Scale
from fedkd.results.device_file import DeviceFile

ERROR = Scale("mae", "mean absolute error", "kWh", "lower")


@pytest.mark.parametrize(
    "scale, before, after, said",
    [
        (ACCURACY, 0.90, 0.88, None),
        (ACCURACY, 0.90, 0.95, None),
        (ACCURACY, 0.826, 0.528, "accuracy falls by 29.8 points in litert, 2.0 allowed"),
        (ERROR, 50.0, 51.0, None),
        (ERROR, 50.0, 51.5, "mean absolute error rises by 1.5 kWh in litert, 1.0 allowed"),
    ],
)
def test_it_is_counted_in_points_of_a_share_and_in_per_cent_of_other_figures(scale, before, after, said):
    assert loses(DeviceFile("int8", quality={"keras": before, "litert": after}), scale, 2.0) == said


def test_of_a_file_that_was_not_measured_nothing_is_said():
    assert loses(DeviceFile("int8", quality={"keras": 0.9, "litert": None}), ACCURACY, 2.0) is None
