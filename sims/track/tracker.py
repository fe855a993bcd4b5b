"""What a tracker is to a run: something that logs its settings, rounds and device files, each once."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from fedkd.config.config import Scalar
from fedkd.results.device_file import DeviceFile
from fedkd.results.round import Round

Settings = Mapping[str, Scalar]


class Tracker(Protocol):
    """A log of one run.

    Raises:
        InputError: Where it would log can't be reached.
    """

    needs: str = ""
    """The package that it logs with, which is also the extra that brings it; empty for none."""

    def begin(self, folder: Path, settings: Settings, before: Sequence[Round]) -> None:
        """Open the run's log, or a new one, so that it holds these rounds and no others.

        Args:
            folder: The run's.
            settings: All of the run's, by dotted keys.
            before: Those that have ended, in order.
        """
        ...

    def add(self, row: Round) -> None:
        """Log a round that has ended, the next one."""
        ...

    def finish(self, files: Sequence[DeviceFile]) -> None:
        """Log the device files of a run that has finished."""
        ...

    def close(self) -> None:
        """Close the log; what was logged is on disk, or with the tool's server, when this returns."""
        ...
