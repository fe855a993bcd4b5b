"""A run's progress, read from the files it writes: a line a round, on a terminal above a live bar."""

import json
import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from threading import Event, Thread

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fedkd.base.errors import InputError
from fedkd.objectives.metric import ACCURACY, Scale
from fedkd.results.round import Round
from fedkd.results.run_folder import RunFolder
from fedkd.results.run_record import RunRecord, last_known
from sims.report.table import lead, size

POLL = 0.25  # seconds between two looks at the file; stopping does not wait for the next
RECENT = 5  # rounds whose duration says how long the next ones take


@contextmanager
def watch(history: Path, rounds: int, console: Console, files: int = 0) -> Iterator[None]:
    """Show a run's progress while the body runs; the run may be the body's or another process's.

    Args:
        history: the run's ``history.jsonl``, which need not exist yet.
        rounds: rounds the run will have; the history's own figure wins.
        console: where to show it: a line for each round, on a terminal above a live bar.
        files: device files that are made after the last round.
    """
    state = State(Tail(history), rounds, files)
    deque(state.news(), maxlen=0)  # rounds that ended before count, but are no news to print
    if not console.is_terminal or console.is_dumb_terminal:
        with polling(lambda: _print_news(state, console)):
            yield
        return
    with Live(state, console=console, auto_refresh=False) as live:
        try:
            with polling(lambda: _draw_news(state, live)):
                yield
        finally:
            state.stopped = True  # Live draws once more as it ends, and leaves that on the screen


@contextmanager
def polling(look: Callable[[], None]) -> Iterator[None]:
    """Look for news in a thread until the body ends, however it ends, and once more after that."""
    stop = Event()

    def poll() -> None:
        while not stop.wait(POLL):
            look()

    thread = Thread(target=poll, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        look()


def _draw_news(state: "State", live: Live) -> None:
    """Print a line for each new round above the live bar, and bring that up to date."""
    for row in state.news():
        _print(state, f"{row.seconds or 0:.1f} s", live.console)
    state.look_for_files()
    live.refresh()


def _print_news(state: "State", console: Console) -> None:
    """Print a plain line for each new round, and for the device files after the last."""
    for row in state.news():
        left = state.seconds_left()
        _print(state, f"{row.seconds or 0:.1f} s" + (f", {clock(left)} left" if left else ""), console)
    if state.look_for_files():
        console.print(Text(state.title()), soft_wrap=True, highlight=False)


def _print(state: "State", times: str, console: Console) -> None:
    console.print(Text(f"{state.title()}: {state.figures()} · {times}"), soft_wrap=True, highlight=False)


@dataclass
class Tail:
    """The new lines of a file that grows, and that a new run may cut back, replace or remove.

    Args:
        path: the file.
        offset: bytes read so far, always up to the end of a line.
        inode: which file they were read from.
    """

    path: Path
    offset: int = 0
    inode: int = 0

    def rows(self) -> Iterator[Round]:
        """Yield the rounds written since the last call; a line that is none is for the report to complain of."""
        try:
            with self.path.open("rb") as file:
                status = os.fstat(file.fileno())
                if status.st_ino != self.inode or status.st_size < self.offset:
                    self.offset, self.inode = 0, status.st_ino
                file.seek(self.offset)
                lines, end, _ = file.read().rpartition(b"\n")
        except OSError:
            self.offset = 0  # not there yet, or removed for a new run
            return
        self.offset += len(lines) + len(end)
        yield from filter(None, map(_row, lines.splitlines()))


def _row(line: bytes) -> Round | None:
    """A line's round, None where it is none."""
    try:
        return Round.from_json(json.loads(line))
    except ValueError:  # of JSON, or the InputError of what is no round
        return None


@dataclass
class State:
    """What is known of the run so far; rich draws it.

    Args:
        tail: where news comes from.
        rounds: rounds the run will have.
        files: device files that are made after the last round.
        written: how many of these there are already; None before they are begun.
        rows: the rounds so far by number, in order.
        metric: how their quality is read.
        ships: whether a whole model is shared.
        started: when the watching began, by the monotonic clock.
        latest: when the last round was seen.
        stopped: whether the watching has ended.
    """

    tail: Tail
    rounds: int
    files: int = 0
    written: int | None = None
    rows: dict[int, Round] = field(default_factory=dict)
    metric: Scale = ACCURACY
    ships: bool = True
    started: float = field(default_factory=time.monotonic)
    latest: float = field(default_factory=time.monotonic)
    stopped: bool = False

    def news(self) -> Iterator[Round]:
        """Take in the rounds written since the last call, and yield each as it is the last."""
        if not self.tail.path.exists():
            self.rows = {}  # what was there belonged to an earlier run
        for row in self.tail.rows():
            number = row.number
            if self.rows.get(number) == row:
                continue
            if not self.rows:
                run = _record(self.tail.path.parent, row)
                self.metric, self.ships = run.metric, run.ships
            # A run continued from a checkpoint repeats rounds: those that came after them no longer count.
            self.rows = {old: self.rows[old] for old in self.rows if old < number} | {number: row}
            self.rounds = row.rounds or self.rounds
            self.latest = time.monotonic()
            yield row

    def look_for_files(self) -> bool:
        """Count the device files that are newer than the last round; return whether there is news of them."""
        before, history = self.written, self.tail.path
        if not self.files or max(self.rows, default=0) < self.rounds:
            self.written = None
            return False
        try:
            ended, found = history.stat().st_mtime_ns, history.parent.glob("*.tflite")
            self.written = min(self.files, sum(file.stat().st_mtime_ns >= ended for file in found))
        except OSError:  # removed for a new run
            self.written = None
        return self.written is not None and self.written != before

    def seconds_left(self) -> float | None:
        """Seconds until the last round ends, by the median of recent rounds; None before the first."""
        took = [row.seconds for row in list(self.rows.values())[-RECENT:] if row.seconds]
        if not took:
            return None
        return max(0.0, (self.rounds - max(self.rows)) * median(took) - (time.monotonic() - self.latest))

    def title(self) -> str:
        """How far the run is."""
        done = max(self.rows, default=0)
        if self.stopped and done < self.rounds:
            return f"stopped after round {done}/{self.rounds}"
        if self.written is not None:
            measuring = ", measuring them" if self.written == self.files and not self.stopped else ""
            return f"device files: {self.written} of {self.files} written{measuring}"
        finishing = done and self.rows[done].phase == "finish"
        return f"{'finishing, ' if finishing else ''}round {done}/{self.rounds}"

    def figures(self) -> str:
        """The last figures known; bytes are those of all clients since the first round."""
        rows = list(self.rows.values())
        shared = last_known(row.shared.get(self.metric.name) for row in rows)
        teachers, text = last_known(row.teacher_mean for row in rows), self.metric.text
        quality = f"shared model {text(shared)}"
        if rows and rows[-1].phase == "teacher":
            quality = f"teacher, before it teaches {text(shared)}"
        elif not self.ships:
            quality = f"teachers {text(teachers)}"
        elif teachers is not None:
            quality = f"student {text(shared)} · teachers {text(teachers)}"
        up, down = sum(row.up_bytes for row in rows), sum(row.down_bytes for row in rows)
        return f"{lead(self.metric)}{quality} · up {size(up)} · down {size(down)}"

    def __rich__(self) -> RenderableType:
        """Two lines: the bar with its times, and the last figures."""
        done = max(self.rows, default=0)
        part, whole = (done, self.rounds) if self.written is None else (self.written, self.files)
        pulse = not (part or self.stopped)
        bar = ProgressBar(total=max(1, whole), completed=part, width=22, pulse=pulse)
        times, left = f"{clock(time.monotonic() - self.started)} elapsed", self.seconds_left()
        if left is not None and not self.stopped and done < self.rounds:
            times += f", {clock(left)} left"
        line = Table.grid(padding=(0, 1))
        line.add_row(self.title(), bar, times)
        text = self.figures() if self.rows else "no round ended" if self.stopped else "compiling and training round 1"
        return Group(line, Text(text, no_wrap=True, overflow="ellipsis"))


def _record(folder: Path, first: Round) -> RunRecord:
    """The run as its folder says before its first round ends."""
    held = RunFolder(folder)
    try:
        return RunRecord(folder, None, (first,), config=held.config, task=held.task)
    except (InputError, OSError):  # for the report to complain of
        return RunRecord(folder, None, (first,))


def clock(seconds: float) -> str:
    """Seconds as hours, minutes and seconds."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"
