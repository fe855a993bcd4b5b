"""What the server saves after each round, so that a run whose process died goes on as if it never had."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from fedkd.base.checkpoint_store import CheckpointStore, Saved, grouped, ungrouped
from fedkd.base.tensors import Weights, digest
from fedkd.objectives.metric import ACCURACY, F1
from fedkd.protocol.messages import teacher_key
from fedkd.protocol.state import ServerState, Step

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
    """

    state: ServerState
    known_rounds: Mapping[int, int | None] = field(default_factory=dict)
    quality: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    trained: Weights = field(default_factory=list)
    elapsed: float = 0.0


class Checkpoint:
    """A run's last two states.

    Args:
        folder: Made on the first save.
        fingerprint: The experiment's; a checkpoint of another one counts as none.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._files = CheckpointStore(folder, fingerprint)

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
            "groups": lengths,
        }
        self._files.save(Saved(state.round, header, tensors))

    def load(self) -> RunProgress | None:
        """Return the newest whole checkpoint, None where there is none; a damaged one is named in a warning."""
        saved = self._files.load()
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
        return RunProgress(state, dict(header["held"]), quality, groups["trained"], header["elapsed"])


def _renamed(figures: Mapping[str, float]) -> dict[str, float]:
    """Figures of teachers by today's names: checkpoints from before tasks owned their metrics have others."""
    before = {"teacher": teacher_key(ACCURACY.name), "teacher_f1": teacher_key(F1.name)}
    return {before.get(name, name): value for name, value in figures.items()}
