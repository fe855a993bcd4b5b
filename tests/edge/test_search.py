"""Laws of what is tried so that a model fits a budget."""

import pytest

from fedkd.config.edge import PRECISIONS
from fedkd.edge.budget import Budget, Check
from fedkd.edge.search import Variant, Work, accurate, expected, fits, precisions, ruled_out, shares, tolerable
from fedkd.objectives.metric import ACCURACY, Scale


def test_channels_are_halved_and_begin_with_what_the_budget_leaves():
    assert shares(1000, Budget())[:3] == [0.5, 0.25, 0.125]
    assert shares(1000, Budget(macs=1000))[0] == 0.5
    assert shares(1000, Budget(macs=300))[:3] == [0.3, 0.25, 0.125]
    assert shares(1000, Budget(macs=1)) == [0.001]


@pytest.mark.parametrize("macs", [1_999_000, 1_999_999, 2_015_000, 2_021_000, 3_990_000, 64_600_000, 1_000_100])
def test_files_of_one_search_have_names_of_their_own(macs):
    tried = shares(macs, Budget(macs=1_000_000))
    assert len({Variant(share=share).stem("student") for share in tried}) == len(tried)


def test_the_whole_model_is_tried_in_all_precisions_and_smaller_ones_in_what_the_target_runs():
    micro = Budget(arena=1)
    assert precisions(micro, 1.0) == PRECISIONS
    assert precisions(micro, 0.5) == ("int8",)
    assert precisions(Budget(), 0.5) == ("float16", "dynamic", "int8")


@pytest.mark.parametrize("precision, least", [("float32", 4000), ("float16", 2000), ("int8", 1000)])
def test_a_file_has_a_byte_two_or_four_a_parameter_at_the_least(precision, least):
    assert ruled_out(1, 1000, precision, Budget(flash=least)) == ""
    assert f"flash is at least {least:,} bytes" in ruled_out(1, 1000, precision, Budget(flash=least - 1))


def test_too_many_multiplications_are_known_before_training():
    assert ruled_out(1001, 1, "int8", Budget(macs=1000)) == "left out: 1,001 multiplications, 1,000 allowed"
    assert ruled_out(1000, 1, "int8", Budget(macs=1000)) == ""


def test_a_recipe_says_all_that_was_done():
    assert Variant().recipe("int8") == "int8"
    assert Variant(share=0.5, aware=True).recipe("int8") == "channels 50%, int8 (qat)"
    assert Variant("width 8", bits=4).recipe("int8_per_tensor") == "width 8, clusters 4 bits, int8_per_tensor"
    assert Variant(share=0.25, aware=True).name == "channels 25%, qat"
    assert Variant("width 8", 0.5, 4).stem("student") == "student_width8_channels50_clusters4"


def test_accuracy_is_the_budgets_line_or_half_a_point_against_the_model_it_was_made_of():
    drop, room = Check("drop", 1.0, 3.0, "litert", False), Check("flash", 9, 10, "file", False)
    assert not accurate([drop], otherwise=True)
    assert accurate([room], otherwise=True)
    assert not accurate([room], otherwise=False)
    assert tolerable(0.5, 0.9, ACCURACY)
    assert not tolerable(0.6, 0.9, ACCURACY)


def test_of_another_metric_so_much_of_what_it_was_is_tolerable():
    mae = Scale("mae", "MAE", "kWh", "lower")
    assert tolerable(0.2, 40.0, mae)
    assert not tolerable(0.21, 40.0, mae)


def test_a_file_with_room_is_one_whose_lines_but_drop_hold():
    drop, room = Check("drop", 1.0, 3.0, "litert", False), Check("flash", 9, 10, "file", False)
    assert fits([drop])
    assert not fits([room])


def test_what_is_likely_to_come_is_the_whole_model_and_halves_down_to_a_small_one():
    micro = Budget(arena=1)
    assert expected(1000, 100, micro, 0.25) == {
        "": Work(1, len(PRECISIONS) + 1),
        "channels 50%": Work(2, 2),
        "channels 25%": Work(2, 2),
    }
    assert list(expected(1000, 100, micro, 0.25, "width 8")) == [
        "width 8",
        *(f"width 8, channels {p}%" for p in (50, 25)),
    ]


def test_what_cannot_fit_is_not_likely_to_come():
    """100 bytes hold 100 parameters of 8 bits: dynamic, int8 and clusters."""
    found = expected(1000, 1000, Budget(flash=100), 0.25)
    assert found == {"": Work(0, len(PRECISIONS)), "channels 6.25%": Work(2, 3)}
