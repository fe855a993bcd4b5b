"""Laws of a search's progress."""

from io import StringIO

import pytest
from rich.console import Console

from fedkd.edge.search import Work
from fedkd.objectives.metric import ACCURACY
from fedkd.results.search import Candidate
from sims.edge.candidate import Measured
from sims.edge.found import Found
from sims.edge.progress import SearchProgress


def candidate(recipe, quality, flash, verdict="usable"):
    return Measured(
        Candidate("int8", flash_bytes=flash, recipe=recipe, quality={"litert": quality}, verdict=verdict), True
    )


@pytest.fixture
def plain():
    console = Console(file=StringIO(), width=80)
    progress = SearchProgress(console, ACCURACY, Found())
    progress.expect({"": Work(0, 2), "channels 50%": Work(1, 2)})
    return progress


def lines(progress):
    return progress.console.file.getvalue().splitlines()


def made(progress, recipe, quality, flash, seconds, verdict="usable"):
    progress._found.candidates.append(candidate(recipe, quality, flash, verdict))
    progress.made(recipe, progress.figures(quality, flash), seconds)


def test_each_file_is_a_line_with_the_best_so_far_and_no_time_before_all_kinds_were_timed(plain):
    made(plain, "float32", 0.98, 90_000, 3.0, "failed: flash")
    made(plain, "int8", 0.971, 23_000, 5.0)
    plain.begin("channels 50%")
    plain.trained(20.0)
    made(plain, "channels 50%, int8", 0.9, 12_000, 4.0)
    assert lines(plain) == [
        "1 of about 4: float32: 98.0 %, 90.0 kB; none meets the budget yet",
        "2 of about 4: int8: 97.1 %, 23.0 kB; the best so far",
        "3 of about 4: channels 50%, int8: 90.0 %, 12.0 kB; best so far: int8: 97.1 %, 23.0 kB; about 0:00:04 left",
    ]


def test_what_a_part_had_left_is_not_waited_for_once_the_next_has_begun(plain):
    plain.begin("channels 50%")
    made(plain, "channels 50%, int8", 0.9, 12_000, 1.0)
    assert lines(plain) == ["1 of about 2: channels 50%, int8: 90.0 %, 12.0 kB; the best so far"]
    plain.drop()
    made(plain, "int16x8", 0.8, 12_000, 1.0)
    assert lines(plain)[1].startswith("2 of about 2: ")


def test_a_terminal_has_a_bar_below_a_line_for_each_file():
    console = Console(file=StringIO(), width=80, force_terminal=True, color_system=None, _environ={"TERM": "xterm"})
    progress = SearchProgress(console, ACCURACY, Found())
    progress.expect({"": Work(0, 3)})
    with progress.shown(), progress.doing("converting the model"):
        made(progress, "int8", 0.971, 23_000, 2.0)
    text = console.file.getvalue()
    assert "1 of about 3: int8: 97.1 %, 23.0 kB" in text
    assert "0:00:00 elapsed, about 0:00:04 left" in text
    assert "converting the model · best so far: int8: 97.1 %, 23.0 kB" in text


def test_another_bar_has_the_terminal_while_this_one_is_paused():
    console = Console(file=StringIO(), width=80, force_terminal=True, color_system=None, _environ={"TERM": "xterm"})
    progress = SearchProgress(console, ACCURACY, Found())
    with progress.shown(), progress.paused(), console.status("a federation"):
        pass


def test_without_a_terminal_there_are_no_control_characters(plain):
    with plain.shown(), plain.doing("training"):
        made(plain, "int8", 0.9, 1000, 1.0)
    assert "\x1b" not in plain.console.file.getvalue()
