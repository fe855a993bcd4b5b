"""What a client keeps between rounds, in one file on its own machine: the teacher never leaves it."""

import json
import os
import tempfile
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from fedkd.protocol import ClientState
from fedkd.tensors import Weights

_BASE = "base"


class Vault:
    """One client's file.

    Args:
        path: Created with its folder on the first save.
        run: What run the state belongs to; the state of another one counts as none.
    """

    def __init__(self, path: Path, run: str) -> None:
        self.path, self.run = path, run

    def load(self) -> ClientState | None:
        """Return the state saved last, or None where there is none or it can't be read."""
        try:
            with safe_open(self.path, framework="numpy") as file:
                header = json.loads(file.metadata()["fedkd"])
                if header["run"] != self.run:
                    return None
                groups = {g: [file.get_tensor(f"{g}/{i}") for i in range(n)] for g, n in header["groups"].items()}
            return ClientState(int(header["round"]), groups.pop(_BASE), groups)
        except (FileNotFoundError, SafetensorError, KeyError, TypeError, ValueError):
            return None

    def save(self, state: ClientState) -> None:
        """Replace the file in one step: a reader, or a crash, sees the state before or the state after."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        groups: dict[str, Weights] = {_BASE: state.base, **state.local}
        tensors = {f"{group}/{i}": array for group, arrays in groups.items() for i, array in enumerate(arrays)}
        header = {
            "run": self.run,
            "round": state.round,
            "groups": {group: len(arrays) for group, arrays in groups.items()},
        }
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}.")
        os.close(handle)
        try:
            save_file(tensors, name, {"fedkd": json.dumps(header)})
            os.replace(name, self.path)
        except BaseException:
            os.unlink(name)
            raise
