"""What a client keeps between rounds, in files on its own machine: the teacher never leaves it."""

from pathlib import Path

from fedkd.generations import Generations, Saved, grouped, ungrouped
from fedkd.protocol import ClientState

_BASE = "base"


class Vault:
    """One client's folder.

    A message may come twice, since a server that died goes on from the round before. So the states of two rounds are
    kept, and a round is always trained from that before it.

    Args:
        folder: Made on the first save.
        run: What run the states belong to; those of another one count as none.
    """

    def __init__(self, folder: Path, run: str) -> None:
        self._files = Generations(folder, run)

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
        tensors, groups = grouped({_BASE: state.base, **state.local})
        self._files.save(Saved(state.round, {"groups": groups}, tensors))
