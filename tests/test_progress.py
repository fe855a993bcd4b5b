"""Laws of the progress display: it tells the last news, disturbs nothing and stops at once."""

import json
import os
import threading
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from sims.progress import State, Tail, watch


def line(number: int, **changes: Any) -> str:
    """A round's line: 3 kB up and 1 kB down over all clients, two seconds long."""
    row: dict[str, Any] = {"round": number, "rounds": 4, "phase": "train", "shared_accuracy": number / 10}
    row |= {"teacher_mean": None, "up_bytes": 3000, "down_bytes": 1000, "seconds": 2.0}
    return json.dumps(row | changes) + "\n"


def plain() -> tuple[Console, StringIO]:
    """A console that is no terminal, and what it prints."""
    text = StringIO()
    return Console(file=text, width=80), text


def terminal() -> tuple[Console, StringIO]:
    """A console that is a terminal of 80 columns, and what it prints."""
    text = StringIO()
    return Console(file=text, width=80, force_terminal=True, color_system=None, _environ={"TERM": "xterm"}), text


def watched(history: Path) -> State:
    """The state after one look at the history."""
    state = State(Tail(history), 4)
    list(state.news())
    return state


def wait_for(text: StringIO, part: str) -> bool:
    """Whether the part is printed within two seconds."""
    deadline = time.monotonic() + 2
    while part not in text.getvalue() and time.monotonic() < deadline:
        time.sleep(0.01)
    return part in text.getvalue()


def test_before_the_first_round_it_says_what_takes_so_long(tmp_path: Path) -> None:
    console, text = terminal()
    with watch(tmp_path / "history.jsonl", 4, console):
        assert wait_for(text, "compiling and training round 1")
        assert "round 0/4" in text.getvalue()


def test_a_round_is_shown_while_the_run_goes_on(tmp_path: Path) -> None:
    console, text = terminal()
    with watch(tmp_path / "history.jsonl", 4, console):
        (tmp_path / "history.jsonl").write_text(line(1))
        assert wait_for(text, "round 1/4")
        assert wait_for(text, "shared model 10.0 % · up 3.00 kB · down 1.00 kB")


def test_the_last_state_stays_on_the_screen(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    console, text = terminal()
    with watch(history, 4, console):
        history.write_text("".join(map(line, (1, 2, 3))) + line(4, phase="finish"))
    last = text.getvalue()[-500:]
    assert "finishing, round 4/4" in last
    assert "up 12.0 kB · down 4.00 kB" in last


def test_an_interrupted_run_leaves_how_far_it_came(tmp_path: Path) -> None:
    console, text = terminal()
    (tmp_path / "history.jsonl").write_text(line(1))
    with pytest.raises(KeyboardInterrupt), watch(tmp_path / "history.jsonl", 4, console):
        raise KeyboardInterrupt
    assert "stopped after round 1/4" in text.getvalue()


@pytest.mark.parametrize("make", [plain, terminal])
@pytest.mark.parametrize("error", [None, RuntimeError, KeyboardInterrupt])
def test_it_stops_at_once_however_the_run_ends(tmp_path: Path, make: Any, error: Any) -> None:
    def seconds_to_stop() -> float:
        console, _ = make()
        try:
            with watch(tmp_path / "history.jsonl", 4, console):
                time.sleep(0.05)
                end = time.monotonic()
                if error:
                    raise error
        except (RuntimeError, KeyboardInterrupt) as raised:
            assert type(raised) is error  # noqa: PT017 - what is raised depends on the parameter
        return time.monotonic() - end

    assert any(seconds_to_stop() < 0.3 for _ in range(3))  # three tries, for the machine may be busy
    assert "progress" not in {thread.name for thread in threading.enumerate()}


def test_without_a_terminal_each_round_is_one_line(tmp_path: Path) -> None:
    """Two rounds; after the second, two rounds of two seconds are left."""
    console, text = plain()
    with watch(tmp_path / "history.jsonl", 4, console):
        (tmp_path / "history.jsonl").write_text(line(1) + line(2, teacher_mean=0.5))
    assert text.getvalue().splitlines() == [
        "round 1/4: shared model 10.0 % · up 3.00 kB · down 1.00 kB · 2.0 s, 0:00:06 left",
        "round 2/4: student 20.0 % · teachers 50.0 % · up 6.00 kB · down 2.00 kB · 2.0 s, 0:00:04 left",
    ]


def test_a_terminal_keeps_a_line_for_each_round_above_the_bar(tmp_path: Path) -> None:
    console, text = terminal()
    history = tmp_path / "history.jsonl"
    history.write_text(line(1))
    with watch(history, 4, console):
        history.write_text(line(1) + line(2) + line(3))
        assert wait_for(text, "round 3/4")
    kept = [part for part in text.getvalue().splitlines() if part.rstrip().endswith("2.0 s")]
    assert [part[part.index("round") :].split(" · ")[0] for part in kept] == [
        "round 2/4: shared model 20.0 %",
        "round 3/4: shared model 30.0 %",
    ]


@pytest.mark.parametrize("make", [plain, terminal])
def test_after_the_last_round_device_files_are_counted(tmp_path: Path, make: Any) -> None:
    """Those of an earlier run are older than the last round."""
    console, text = make()
    (tmp_path / "student_float16.tflite").touch()
    os.utime(tmp_path / "student_float16.tflite", (0, 0))
    with watch(tmp_path / "history.jsonl", 4, console, files=2):
        (tmp_path / "history.jsonl").write_text("".join(map(line, (1, 2, 3, 4))))
        assert wait_for(text, "device files: 0 of 2 written")
        (tmp_path / "student_float32.tflite").touch()
        assert wait_for(text, "device files: 1 of 2 written")


def test_rounds_before_the_watching_count_but_are_not_printed(tmp_path: Path) -> None:
    console, text = plain()
    history = tmp_path / "history.jsonl"
    history.write_text(line(1))
    with watch(history, 4, console):
        history.write_text(line(1) + line(2))
    assert [part for part in text.getvalue().splitlines() if "up 6.00 kB" in part] == text.getvalue().splitlines()
    assert text.getvalue().startswith("round 2/4")


def test_a_history_removed_for_a_new_run_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text(line(1))
    state = watched(tmp_path / "history.jsonl")
    (tmp_path / "history.jsonl").unlink()
    list(state.news())
    (tmp_path / "history.jsonl").write_text(line(1, rounds=9))
    assert [row.rounds for row in state.news()] == [9]


def test_the_last_measured_teachers_are_kept(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text(line(1, teacher_mean=0.5) + line(2))
    assert watched(tmp_path / "history.jsonl").figures().startswith("student 20.0 % · teachers 50.0 %")


def test_half_a_line_waits_for_its_other_half(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    state = State(Tail(history), 4)
    for text, rounds in ((line(1)[:20], []), (line(1)[20:], [1]), ("", [])):
        with history.open("a") as file:
            file.write(text)
        assert [row.number for row in state.news()] == rounds


def test_the_rounds_of_the_history_win_over_those_announced(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text(line(1, rounds=7))
    assert watched(tmp_path / "history.jsonl").title() == "round 1/7"


def test_a_history_cut_back_by_a_continued_run_counts_no_byte_twice(tmp_path: Path) -> None:
    history = tmp_path / "history.jsonl"
    history.write_text("".join(map(line, (1, 2, 3))))
    state = watched(history)
    history.write_text(line(1) + line(2, up_bytes=5000))
    assert [row.number for row in state.news()] == [2]
    assert state.title() == "round 2/4"
    assert "up 8.00 kB · down 2.00 kB" in state.figures()


@pytest.mark.parametrize("bad", ["nonsense\n", "[]\n", '{"round": "x"}\n', line(2, seconds="x"), "\n"])
def test_a_line_that_is_no_round_disturbs_nothing(tmp_path: Path, bad: str) -> None:
    (tmp_path / "history.jsonl").write_text(line(1) + bad + line(3))
    assert list(watched(tmp_path / "history.jsonl").rows) == [1, 3]


def test_time_left_follows_the_recent_rounds(tmp_path: Path) -> None:
    """A first round of 100 s compiled; the median of 100, 2 and 2 s is 2 s, and one round is left."""
    (tmp_path / "history.jsonl").write_text(line(1, seconds=100) + line(2) + line(3))
    assert watched(tmp_path / "history.jsonl").seconds_left() == pytest.approx(2, abs=0.5)
