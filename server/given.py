"""What a run is given, as its checkpoints record it, and in what a run that goes on differs from it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fedkd.base.errors import InputError
from fedkd.base.versions import changed, versions
from fedkd.config.config import Scalar
from fedkd.config.deciding import deciding, differing
from fedkd.protocol.contents import Contents, calibration_of, changed_contents
from fedkd.protocol.experiment import Experiment


@dataclass(frozen=True)
class Given:
    """What the rounds of a run follow from.

    Args:
        settings: Those that decide a result, by dotted keys, see ``fedkd.config.deciding``.
        contents: SHA-256 of data and files, see ``fedkd.protocol.contents``.
        rounds: Of training; the one setting that may grow.
        versions: Of the packages that compute, by name.
    """

    settings: Mapping[str, Scalar]
    contents: Contents
    rounds: int
    versions: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """As a checkpoint's header holds it."""
        return asdict(self)

    def check_same(self, before: "Given", where: object) -> None:
        """Say in what this differs from what a run began with.

        Args:
            before: What the run's checkpoint says.
            where: The run's folder, for messages.

        Raises:
            InputError: Settings or contents differ, so that what came out wouldn't be one run.
        """
        if settings := differing(before.settings, self.settings):
            raise InputError(f"{where}: these settings differ: {'; '.join(settings)}; a run goes on with what it had")
        if contents := changed_contents(before.contents, self.contents):
            raise InputError(f"{where}: {'; '.join(contents)}; bring back what it had, or begin another run")

    def changed_versions(self, before: "Given") -> str:
        """In one line the versions that are others than before; empty where none is."""
        found = changed(before.versions, self.versions)
        return f"versions differ, so the last bits may: {'; '.join(found)}" if found else ""


def given_of(experiment: Experiment) -> Given:
    """What a server gives the run of an experiment.

    Raises:
        InputError: The calibration file, or that of teacher weights, can't be read.
    """
    config = experiment.config
    contents = experiment.contents | calibration_of(config)
    return Given(deciding(config), contents, config.rounds, versions())


def read_given(header: Mapping[str, Any]) -> Given | None:
    """Read what a checkpoint says of its run, None where it is from before checkpoints did."""
    found = header.get("given")
    return Given(**found) if found else None
