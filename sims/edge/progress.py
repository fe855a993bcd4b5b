"""A search's progress: how many files of about how many, the best so far, and the time that is left."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from statistics import mean

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fedkd.edge.search import Work
from fedkd.objectives.metric import Scale
from sims.edge.found import Found
from sims.progress import clock
from sims.report.table import size


class SearchProgress:
    """Shows a bar on a terminal, below a line for each file; elsewhere the lines alone.

    Args:
        console: Where.
        scale: How the deciding metric is read.
        found: What the search has come to so far.
    """

    def __init__(self, console: Console, scale: Scale, found: Found) -> None:
        self.console, self._scale, self._found = console, scale, found
        self._expected: dict[str, Work] = {}
        self._trainings, self._files = list[float](), list[float]()  # seconds of each
        self._current, self._since = "", (0, 0)  # the part that goes on, and the numbers of both when it began
        self._action, self._started = "", time.monotonic()
        plain = not console.is_terminal or console.is_dumb_terminal
        self._live = None if plain else Live(self, console=console, transient=True)

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show the bar while the body runs."""
        if self._live is None:
            yield
            return
        self._live.start()
        try:
            yield
        finally:
            self._live.stop()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Leave the terminal to another bar while the body runs."""
        if self._live:
            self._live.stop()
        try:
            yield
        finally:
            if self._live:
                self._live.start()

    @contextmanager
    def doing(self, action: str) -> Iterator[None]:
        """Say what is going on while the body runs."""
        self._action = action
        try:
            yield
        finally:
            self._action = ""

    def expect(self, parts: Mapping[str, Work]) -> None:
        """Add parts of the search that are likely to come, with what they take."""
        self._expected |= parts

    def begin(self, part: str) -> None:
        """Begin one of these, or another; what the one before had left isn't coming."""
        if part != self._current:
            self._expected.pop(self._current, None)
        self._current, self._since = part, (len(self._trainings), len(self._files))

    def drop(self) -> None:
        """Forget all parts that haven't begun, and what the current one had left: they aren't coming."""
        self._expected = {}

    def trained(self, seconds: float) -> None:
        """Count a model that was trained in so many seconds, perhaps by a search that was cut off."""
        self._trainings.append(seconds)

    def made(self, recipe: str, figures: str, seconds: float) -> None:
        """Count a file that was measured, or couldn't be, in so many seconds, and print a line of it."""
        self._files.append(seconds)
        said = Text(f"{self._count()}: {recipe}: {figures}")
        if self._live is None:
            best = self._best(recipe)
            said.append("".join(f"; {part}" for part in (best, self._left()) if part))
        self.console.print(said, soft_wrap=True, highlight=False)

    def figures(self, quality: float, flash_bytes: int | None) -> str:
        """A file in few words: ``97.1 %, 23.4 kB``."""
        return f"{self._scale.text(quality)}, {size(flash_bytes)}"

    def _remaining(self) -> Work:
        """What is still likely to come."""
        parts = dict(self._expected)
        current = parts.pop(self._current, Work(0, 0))
        trained = current.trained - len(self._trainings) + self._since[0]
        files = current.files - len(self._files) + self._since[1]
        left = [Work(max(0, trained), max(0, files)), *parts.values()]
        return Work(sum(part.trained for part in left), sum(part.files for part in left))

    def _count(self) -> str:
        done = len(self._files)
        return f"{done} of about {done + self._remaining().files}"

    def _best(self, last: str = "") -> str:
        """The best so far, in few words where the reader has just been told of it."""
        best = self._found.best(self._scale)
        if best is None:
            return "none meets the budget yet" if self._found.candidates else ""
        if best.file.recipe == last:
            return "the best so far"
        return f"best so far: {best.file.recipe}: {self.figures(best.worst(self._scale), best.file.flash_bytes)}"

    def _left(self) -> str:
        """The time that is left, once all that is to come has been timed once."""
        left = self._remaining()
        kinds = [(left.trained, self._trainings), (left.files, self._files)]
        if not self._files or any(count and not timed for count, timed in kinds):
            return ""
        seconds = sum(count * mean(timed) for count, timed in kinds if count)
        return f"about {clock(seconds)} left" if seconds else ""

    def __rich__(self) -> RenderableType:
        """Two lines: the bar with its times, then what is going on and the best so far."""
        done, total = len(self._files), len(self._files) + self._remaining().files
        bar = ProgressBar(total=max(1, total), completed=done, width=22, pulse=not done)
        times = [f"{clock(time.monotonic() - self._started)} elapsed", self._left()]
        line = Table.grid(padding=(0, 1))
        line.add_row(self._count(), bar, ", ".join(filter(None, times)))
        text = " · ".join(filter(None, (self._action, self._best())))
        return Group(line, Text(text, no_wrap=True, overflow="ellipsis"))
