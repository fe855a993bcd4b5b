"""Laws of budgets."""

import pytest

from fedkd.base.errors import InputError
from fedkd.edge.budget import (
    Budget,
    Facts,
    check_drop,
    checks,
    excess,
    misses,
    parse_budget,
    relaxed,
    to_leave_out,
    verdict,
)
from fedkd.objectives.metric import ACCURACY, Scale


def facts(flash=30_000, arena=8_000, macs=50_000, litert=0.0, tflm=0.0):
    return Facts(flash, arena, macs, {"litert": litert, "tflm": tflm})


def test_every_line_is_read_in_its_units():
    assert parse_budget("flash=32KB,arena=16kb, macs = 1M ,drop=1.5") == Budget(32768, 16384, 1_000_000, 1.5)
    assert parse_budget("macs=250k,flash=0.5MB") == Budget(flash=524_288, macs=250_000)
    assert parse_budget("flash=20000") == Budget(flash=20_000)
    assert parse_budget("drop=0") == Budget(drop=0.0)


@pytest.mark.parametrize(
    "text, words",
    [
        ("ram=3KB", "unknown line 'ram'; known: flash, arena, macs, drop"),
        ("", "unknown line ''"),
        ("flash", "flash must be a number in B, KB (1,024 bytes) or MB, got ''"),
        ("flash=big", "got 'big'"),
        ("flash=-3KB", "got '-3KB'"),
        ("flash=nan", "got 'nan'"),
        ("flash=3GB", "got '3GB'"),
        ("macs=1KB", "macs must be a number in k or M, got '1KB'"),
        ("flash=0", "flash must be at least 1, got 0"),
        ("drop=1%", "drop must be a number in points of accuracy"),
        ("drop=-1", "drop must be a number in points of accuracy, or of another metric its own unit"),
        ("flash=1KB,flash=2KB", "flash is there twice"),
    ],
)
def test_what_is_no_budget_gets_one_line(text, words):
    with pytest.raises(InputError) as caught:
        parse_budget(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_lines_that_are_not_given_are_not_checked():
    assert checks(Budget(flash=30_000), facts(macs=10**9, litert=90.0)) == (("flash", 30_000, 30_000, "file", True),)


def test_accuracy_counts_in_litert_and_for_microcontrollers_in_tflm_too():
    bad_there = facts(litert=0.5, tflm=32.0)
    assert verdict(checks(Budget(drop=1.0), bad_there), ACCURACY) == "usable"
    micro = checks(Budget(arena=10_000, drop=1.0), bad_there)
    assert verdict(micro, ACCURACY) == "failed: accuracy falls by 32.0 points in tflm, 1.0 allowed"


def test_a_file_that_the_target_cannot_run_fails_with_one_reason():
    done = checks(Budget(arena=10_000, drop=1.0), facts(arena=None, tflm=None))
    assert misses(done, ACCURACY) == ["it can't run in tflm"]
    assert excess(done) == float("inf")
    assert relaxed(done) == ""


def test_misses_name_what_there_is_and_what_is_allowed():
    done = checks(Budget(flash=32_768, macs=40_000), facts(flash=40_120))
    assert misses(done, ACCURACY) == [
        "flash: 40,120 bytes, 32,768 allowed",
        "macs: 50,000 multiplications, 40,000 allowed",
    ]
    assert excess(done) == pytest.approx(7_352 / 32_768 + 0.25)


def test_of_two_runtimes_the_worse_counts():
    done = checks(Budget(arena=10_000, drop=2.0), facts(litert=3.0, tflm=4.0))
    assert excess(done) == 1.0


def test_a_relaxed_budget_lets_the_file_pass():
    tight, held = Budget(100, 100, 100, 0.0), facts(litert=1.94, tflm=2.01)
    loose = parse_budget(relaxed(checks(tight, held)))
    assert loose == Budget(30 * 1024, 8 * 1024, 50_000, 2.1)
    assert verdict(checks(loose, held), ACCURACY) == "usable"


def test_multiplications_that_cannot_be_counted_keep_to_no_line():
    (check,) = checks(Budget(macs=1000), Facts(1, None, None, {"litert": 0.0}))
    assert not check.ok
    assert verdict([check], ACCURACY) == "failed: not all of its multiplications can be counted"
    assert (relaxed([check]), to_leave_out([check])) == ("", ["macs"])


def test_a_file_that_a_runtime_refuses_passes_only_without_the_line_that_asks_for_it():
    """However much flash is allowed: both are said."""
    done = checks(Budget(flash=1024, arena=1024), Facts(2048, None, 1, {"litert": 0.0, "tflm": None}))
    assert (relaxed(done), to_leave_out(done)) == ("flash=2KB", ["arena"])


def test_no_more_of_a_share_than_there_is_can_be_lost_but_any_amount_of_another_metric():
    with pytest.raises(InputError, match="drop must be from 0 to 100 points of accuracy, got 101"):
        check_drop(Budget(drop=101.0), ACCURACY)
    check_drop(Budget(drop=101.0), Scale("mae", "MAE", "mg/dl", "lower"))


def test_quality_counts_where_a_line_asks_for_a_runtime_or_none_has_to():
    assert Budget().runtimes == ("litert",)
    assert Budget(arena=1).runtimes == ("litert", "tflm")
    assert (Budget().unsupported, Budget(arena=1).unsupported) == (set(), {"float16", "dynamic", "int4"})
