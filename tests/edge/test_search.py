"""Laws of what is tried so that a model fits a budget."""

import pytest

from fedkd.config.sections import PRECISIONS
from fedkd.edge.budget import Budget, Check
from fedkd.edge.search import Variant, accurate, fits, precisions, ruled_out, shares


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
    assert not accurate([drop], lost=0.0)
    assert accurate([room], lost=0.5)
    assert not accurate([room], lost=0.6)
    assert fits([drop])
    assert not fits([room])
