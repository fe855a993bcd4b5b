"""What the server saves after each round, so that a run whose process died goes on as if it never had."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fedkd.base.checkpoint_store import CheckpointStore, Saved, grouped, ungrouped
from fedkd.base.errors import InputError
from fedkd.base.tensors import Weights, digest
from fedkd.objectives.metric import ACCURACY, F1
from fedkd.protocol.messages import teacher_key
from fedkd.protocol.state import ServerState, Step
from server.given import Given, read_given

# Lists of arrays in a checkpoint; all others are what transforms of updates keep.
_GROUPS = ("shared", "trained", "blobs")


@dataclass(frozen=True)
class RunProgress:
    """All that a run's next round depends on, beside its configuration.

    Args:
        state: The protocol's, after a round.
        known_rounds: The last round each client took part in, None where it needs the dense model.
        quality: What each client measured last of its own models.
        trained: The shared model at the end of training, empty before.
        elapsed: Seconds the rounds took.
        classes: Class of devices by partition, of the nodes that have said one.
    """

    state: ServerState
    known_rounds: Mapping[int, int | None] = field(default_factory=dict)
    quality: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    trained: Weights = field(default_factory=list)
    elapsed: float = 0.0
    classes: Mapping[int, str] = field(default_factory=dict)


class Checkpoint:
    """A run's last two states.

    Args:
        folder: Made on the first save.
        fingerprint: The experiment's; a checkpoint of another one counts as none.
        given: What the run is given, to be kept with each state.
    """

    def __init__(self, folder: Path, fingerprint: str, given: Given | None = None) -> None:
        self._files, self._given = CheckpointStore(folder, fingerprint), given

    def save(self, progress: RunProgress) -> None:
        """Keep what a round ended with, on disk when this returns.

        Raises:
            RunError: It can't be written; the checkpoint before is intact.
        """
        state = progress.state
        blobs = [np.frombuffer(blob, np.uint8) for blob in (state.update, *(step.blob for step in state.steps))]
        groups = {**state.transforms, "shared": state.shared, "trained": progress.trained, "blobs": blobs}
        tensors, lengths = grouped(groups)
        header = {
            "run": state.run,
            "steps": [[step.round, step.sparsity] for step in state.steps],
            "removed_channels": list(state.removed_channels),
            "held": list(progress.known_rounds.items()),
            "quality": [[partition, dict(figures)] for partition, figures in progress.quality.items()],
            "elapsed": progress.elapsed,
            "classes": list(progress.classes.items()),
            "groups": lengths,
            "given": self._given and self._given.to_json(),
        }
        self._files.save(Saved(state.round, header, tensors))

    @property
    def rounds(self) -> list[int]:
        """Rounds of which there are whole checkpoints of this experiment, ascending."""
        return [round_ for round_ in self._files.rounds() if self._files.load_round(round_)]

    @property
    def newest(self) -> int:
        """The last round of which there is a file, be it damaged; 0 for none."""
        return max(self._files.rounds(), default=0)

    @property
    def empty(self) -> bool:
        """Whether there is no file at all, not even a damaged one."""
        return not self._files.rounds()

    def began_with(self) -> Given | None:
        """What the run of the newest whole checkpoint was given, whatever experiment it is of.

        Raises:
            InputError: There is no whole checkpoint, or it is from before they recorded this.
        """
        if not (found := self._files.newest()):
            raise InputError(f"{self._files.folder}: no checkpoint is whole, this run can't go on; run it again")
        owner, saved = found
        given = read_given(saved.header)
        if given is None and owner != self._files.owner:
            raise InputError(
                f"{self._files.folder}: an earlier fedkd wrote this, without a record of settings and data to compare;"
                " go on with that version, or run it again"
            )
        return given

    def forget_after(self, round_: int) -> None:
        """Remove the checkpoints of later rounds."""
        self._files.forget_after(round_)

    def load(self, round_: int = 0) -> RunProgress | None:
        """Return the newest whole checkpoint, or that of a round; a damaged one is named in a warning.

        Args:
            round_: From 1; 0 for the newest.

        Returns:
            What the run goes on from, None where there is no such checkpoint.
        """
        saved = self._files.load_round(round_) if round_ else self._files.load()
        if saved is None:
            return None
        header, groups = saved.header, ungrouped(saved.tensors, saved.header["groups"])
        update, *blobs = (array.tobytes() for array in groups["blobs"])
        steps = tuple(Step(r, blob, sparsity) for (r, sparsity), blob in zip(header["steps"], blobs, strict=True))
        shared, removed = groups["shared"], tuple(header.get("removed_channels", header.get("gone", ())))
        transforms = {group: arrays for group, arrays in groups.items() if group not in _GROUPS and arrays}
        # The base is that of the round that is done; the next one makes its own.
        state = ServerState(
            saved.round, shared, shared, digest(shared), steps, update, transforms, removed, header["run"]
        )
        quality = {partition: _renamed(figures) for partition, figures in header["quality"]}
        known, classes = dict(header["held"]), dict(header.get("classes", ()))
        return RunProgress(state, known, quality, groups["trained"], header["elapsed"], classes)


def _renamed(figures: Mapping[str, float]) -> dict[str, float]:
    """Figures of teachers by today's names: checkpoints from before tasks owned their metrics have others."""
    before = {"teacher": teacher_key(ACCURACY.name), "teacher_f1": teacher_key(F1.name)}
    return {before.get(name, name): value for name, value in figures.items()}
