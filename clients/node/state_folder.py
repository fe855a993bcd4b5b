"""What a client keeps between rounds, in files on its own machine: the teacher never leaves it."""

import hashlib
import shutil
from pathlib import Path

from fedkd.base.checkpoint_store import CheckpointStore, Saved, grouped, ungrouped
from fedkd.protocol.state import ClientState

_BASE = "base"


def owner_of(run: str, fingerprint: str, kind: str) -> str:
    """What the states of a client belong to, in its folder or its record.

    Args:
        run: The server's name of the run.
        fingerprint: The experiment's.
        kind: Of the client. Those of another class of devices hold other arrays; kinds of a task never change in a run.
    """
    return ":".join([run, fingerprint, *([kind] if kind.isidentifier() else [])])


class StateFolder:
    """One client's folder.

    A message may come twice, since a server that died goes on from the round before. So the states of two rounds are
    kept, and a round is always trained from that before it.

    Each run has a folder of its own in it; that of the run before stays, older ones go when a run begins.

    Args:
        folder: Made on the first save.
        run: What run the states belong to.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self._files = CheckpointStore(folder / hashlib.sha256(run.encode()).hexdigest()[:16], run)

    def load(self, before: int | None = None) -> ClientState | None:
        """Return the newest state, or the best to begin the round ``before`` from; None where there is none."""
        saved = self._files.load(before)
        if saved is None:
            return None
        groups = ungrouped(saved.tensors, saved.header["groups"])
        return ClientState(saved.round, groups.pop(_BASE), groups)

    def save(self, state: ClientState) -> None:
        """Keep a state, on disk when this returns.

        Raises:
            RunError: The disk is full, or the folder can't be written; what was saved before is intact.
        """
        if not self._files.folder.exists():
            self._forget_old_runs()
        tensors, groups = grouped({_BASE: state.base, **state.local})
        self._files.save(Saved(state.round, {"groups": groups}, tensors))

    def _forget_old_runs(self) -> None:
        """Remove the states of all runs but the last one that was active."""
        client = self._files.folder.parent
        runs = [path for path in client.iterdir() if path.is_dir()] if client.is_dir() else []
        for run in sorted(runs, key=lambda path: path.stat().st_mtime_ns)[:-1]:
            shutil.rmtree(run, ignore_errors=True)
