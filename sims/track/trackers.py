"""Trackers by the names that ``--track`` takes, and a run followed by some of them."""

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from fedkd.base import runtime
from fedkd.base.errors import InputError
from fedkd.config.config import Config
from fedkd.config.settings import to_settings
from fedkd.results.round import Round
from fedkd.results.run_folder import RunFolder, read
from sims.progress import State, Tail, polling
from sims.terminal import warn
from sims.track.csv_tables import CsvTables
from sims.track.mlflow_run import MlflowRun
from sims.track.tensorboard_events import TensorBoardEvents
from sims.track.tracker import Tracker

TRACKERS: dict[str, type[Tracker]] = {"tensorboard": TensorBoardEvents, "mlflow": MlflowRun, "csv": CsvTables}


def opened(names: Sequence[str]) -> dict[str, Tracker]:
    """Make trackers by their names.

    Raises:
        InputError: A name is unknown, the package that its tracker logs with isn't installed, or its store is away.
    """
    for name in names:
        if name not in TRACKERS:
            raise InputError(f"--track takes {', '.join(TRACKERS)}, got {name!r}")
        needs = TRACKERS[name].needs
        if needs and importlib.util.find_spec(needs) is None:
            raise InputError(f"--track {name}: {needs} isn't installed; pip install 'fedkd[{needs}]'")
    return {name: TRACKERS[name]() for name in names}


def log_run(folder: Path, trackers: Mapping[str, Tracker]) -> None:
    """Bring the logs of a run up to date, also of one that has ended or was stopped.

    Args:
        folder: The run's.
        trackers: From ``opened``.

    Raises:
        InputError: See ``fedkd.results.run_folder.read``.
    """
    run = read(folder)
    if trackers:
        runtime.configure()  # some of what they log with starts TensorFlow
    for tracker in trackers.values():
        tracker.begin(folder, run.settings, run.history)
        if run.summary:
            tracker.finish(run.summary.files)
        tracker.close()


@contextmanager
def followed(
    folder: Path, trackers: Mapping[str, Tracker], config: Config, from_round: int, console: Console
) -> Iterator[None]:
    """Have trackers log a run's rounds as they end, while the body runs, and its files when it has finished.

    A tracker that fails, of a server that went away say, is said so once and left out; the run goes on.

    Args:
        folder: The run's.
        trackers: From ``opened``.
        config: What the run goes by from now on.
        from_round: The round that the run goes back to, 0 for its last.
        console: Where warnings go.
    """
    if not trackers:
        yield
        return
    followers = [_Follower(*named, folder, config, from_round, console) for named in trackers.items()]
    try:
        with polling(lambda: _look(followers)):
            yield
        for follower in followers:
            follower.finish()
    finally:
        for follower in followers:
            follower.close()


def _look(followers: Sequence["_Follower"]) -> None:
    for follower in followers:
        follower.look()


class _Follower:
    """One tracker of a run that is under way.

    Args:
        name: The tracker's.
        tracker: What logs.
        folder: The run's.
        config: What it goes by.
        from_round: The round that it goes back to, 0 for its last.
        console: Where warnings go.
    """

    def __init__(
        self, name: str, tracker: Tracker, folder: Path, config: Config, from_round: int, console: Console
    ) -> None:
        self._name, self._tracker, self._folder, self._console = name, tracker, folder, console
        self._state, self._works = State(Tail(folder / "history.jsonl"), config.total_rounds), True
        self._settings = to_settings(config)
        before = [row for row in self._state.news() if not from_round or row.number <= from_round]
        self._last = before[-1].number if before else 0
        self._guarded(lambda: self._begin(before))

    def look(self) -> None:
        """Log the rounds that have ended since the last look."""
        for row in self._state.news():
            self._guarded(lambda row=row: self._add(row))  # type: ignore[misc]

    def finish(self) -> None:
        """Log the device files of a run that has come to its end."""
        summary = RunFolder(self._folder).summary
        if summary:
            self._guarded(lambda: self._tracker.finish(summary.files))

    def close(self) -> None:
        """Close the log."""
        self._guarded(self._tracker.close)

    def _begin(self, before: Sequence[Round]) -> None:
        self._tracker.begin(self._folder, self._settings, before)

    def _add(self, row: Round) -> None:
        if row.number <= self._last:  # the run has gone on from before a round that it had written down
            self._begin([held for held in self._state.rows.values() if held.number < row.number])
        self._tracker.add(row)
        self._last = row.number

    def _guarded(self, log: Callable[[], None]) -> None:
        """Have the tracker log something; what a library raises must not cost the run."""
        if not self._works:
            return
        try:
            log()
        except Exception as error:
            self._works = False
            said = f"{type(error).__name__}: {error}".split("\n", 1)[0][:300]
            again = f"`fedkd report {self._folder} --track {self._name}` brings it up to date"
            warn(self._console, f"--track {self._name}: its log ends here ({said}); {again}")
