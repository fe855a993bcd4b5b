"""A suite's progress: a bar over its cells and one within each that runs; a line a cell elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sims.progress import State, Tail, clock
from sims.suite.plan import Job


class SuiteProgress:
    """What is known of a suite's cells so far; rich draws it.

    Args:
        total: Cells in all.
        done: Cells that were finished before.
        console: A terminal, or something that gets plain lines.
        what: They are called.
    """

    def __init__(self, total: int, done: int, console: Console, what: str = "cell") -> None:
        self.total, self.done, self._console, self._what = total, done, console, what
        self._started, self._running = time.monotonic(), dict[str, tuple[float, State]]()
        self._live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Show it on a terminal while the body runs."""
        if not self._console.is_terminal or self._console.is_dumb_terminal:
            yield
            return
        with Live(self, console=self._console, auto_refresh=False, transient=True) as self._live:
            yield
        self._live = None

    def begin(self, job: Job) -> None:
        """Note that a cell has started."""
        state = State(Tail(job.folder / "history.jsonl"), job.config.total_rounds)
        self._running[job.cell.name] = (time.monotonic(), state)

    def end(self, job: Job, error: str) -> None:
        """Print how a cell ended."""
        started, state = self._running.pop(job.cell.name)
        self.done += 1
        seconds = f"{time.monotonic() - started:.0f} s"
        _take_in(state)
        how = [("failed", "red"), f" after {seconds}"] if error else [f"{state.figures()} · {seconds}"]
        line = Text.assemble(f"{self._what} {self.done}/{self.total} ", (job.cell.name, "bold"), ": ", *how)
        self._console.print(line.append(f": {error}; see {job.log}" if error else ""), soft_wrap=True, highlight=False)

    def look(self) -> None:
        """Take in what running cells have written, and draw."""
        for _, state in self._running.values():
            _take_in(state)
        if self._live:
            self._live.refresh()

    def __rich__(self) -> RenderableType:
        """The bar over cells, then two lines for each that runs."""
        line = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=max(1, self.total), completed=self.done, width=22)
        line.add_row(
            f"{self._what} {self.done}/{self.total}", bar, f"{clock(time.monotonic() - self._started)} elapsed"
        )
        parts = [part for name, (_, state) in self._running.items() for part in (Text(name, style="bold"), state)]
        return Group(line, *parts)


def _take_in(state: State) -> None:
    for _ in state.news():
        pass
